"""Shapes are checked in every test: the package is imported under jaxtyping's hook with beartype."""

import os
from pathlib import Path

import pytest
from jaxtyping import install_import_hook

os.environ.setdefault("HF_HUB_OFFLINE", "1")
_hook = install_import_hook("bleep", "beartype.beartype")

SHARED = Path(__file__).parents[2] / "shared"


@pytest.fixture(scope="session")
def shared() -> Path:
    """Real tissue and weights; tests that need them carry the marker `data`."""
    if not (SHARED / "data").is_dir():
        pytest.skip("needs the real tissue in ../shared/data")
    return SHARED
