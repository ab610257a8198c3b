"""Settings of the documentation: Sphinx, MyST and furo, with two pages generated from the code."""

import sys
from importlib.metadata import version as installed
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

from generate import write_pages  # noqa: E402

write_pages(HERE / "reference" / "generated")

project = "bleep"
author = "the bleep authors"
copyright = "2026, the bleep authors"
release = version = installed("bleep-st")

extensions = ["myst_parser"]
myst_enable_extensions = ["colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3
exclude_patterns = ["_build", "reference/generated"]
smartquotes = False  # two hyphens before a flag are two hyphens
html_theme = "furo"
html_title = f"bleep {release}"
html_static_path = ["_static"]
