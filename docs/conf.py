"""Sphinx settings of the documentation: `make docs` builds it, warnings are errors."""

from __future__ import annotations

import segwright

project = "Segwright"
author = "The Segwright authors"
project_copyright = "The Segwright authors"
version = release = segwright.__version__

extensions = ["myst_parser"]
exclude_patterns = ["_build"]
myst_heading_anchors = 3

html_theme = "furo"
html_title = f"Segwright {version}"
html_show_sphinx = False
