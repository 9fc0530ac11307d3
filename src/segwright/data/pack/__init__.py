"""Packs: the decoded pictures and labels of one split on disk, ready to be mapped into memory.

`packed` gives a data set's pack, builds it when there is none, and falls back to the files, loudly, when it cannot.
A pack is never required, may be deleted at any time, and mends itself.
"""

from segwright.data.pack.build import CannotPack, open_pack, packed
from segwright.data.pack.fit import Fit, Fitted
from segwright.data.pack.format import Pack
from segwright.data.pack.store import PackFacts, clear_packs, facts_of, in_words, list_packs, packs_folder

__all__ = [
    "CannotPack",
    "Fit",
    "Fitted",
    "Pack",
    "PackFacts",
    "clear_packs",
    "facts_of",
    "in_words",
    "list_packs",
    "open_pack",
    "packed",
    "packs_folder",
]
