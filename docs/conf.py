"""Settings of the documentation: Sphinx, MyST and furo, with pages generated from the code and notebooks that are run."""

import os
import sys
from importlib.metadata import version as installed
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

from generate import write_pages  # noqa: E402

write_pages(HERE / "reference" / "generated")
# Notebooks need no network, and two of them share the machine with nothing else.
os.environ |= {"HF_HUB_OFFLINE": "1", "ACCELERATE_USE_CPU": "1"}

project = "bleep"
author = "the bleep authors"
copyright = "2026, the bleep authors"
release = version = installed("bleep-st")

extensions = ["myst_nb"]
myst_enable_extensions = ["colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3
exclude_patterns = ["_build", "reference/generated", "jupyter_execute", "**/.ipynb_checkpoints"]
# The notebooks are run at each build, each in a folder of its own: a line in them that fails, fails the build.
nb_execution_mode = "force"
nb_execution_raise_on_error = True
nb_execution_timeout = 300
nb_execution_in_temp = True
nb_output_stderr = "remove"
nb_merge_streams = True
smartquotes = False  # two hyphens before a flag are two hyphens
html_theme = "furo"
html_title = f"bleep {release}"
html_static_path = ["_static"]
