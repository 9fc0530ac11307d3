"""Display colours for classes that came without any: told apart by people with colour-vision deficiencies as far as possible."""

from __future__ import annotations

import numpy as np
