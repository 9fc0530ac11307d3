"""All bad inputs of FAULTS groups B1 to B4; archives (B5) have their own generator beside `data/archives.py`'s tests."""

from __future__ import annotations

from .case import Case
from .damage import DAMAGES
from .kinds import KINDS
from .masks import MASKS
from .pairing import PAIRING
from .paths import PATHS

IMAGES: tuple[Case, ...] = (*DAMAGES, *KINDS)
CASES: tuple[Case, ...] = (*IMAGES, *MASKS, *PAIRING, *PATHS)
