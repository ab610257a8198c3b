"""FAISS itself, and what its build can do."""

import logging
from typing import Any

# FAISS tells at INFO which instruction set it loaded; nobody asked.
logging.getLogger("faiss.loader").setLevel(logging.WARNING)
import faiss as _faiss  # noqa: E402

# Its own stubs know half of what it holds.
faiss: Any = _faiss

__all__ = ["facts", "faiss"]


def facts() -> dict[str, str]:
    """Return version, compile options and GPUs of the FAISS build in use."""
    return {"version": faiss.__version__, "options": faiss.get_compile_options().strip(), "gpus": str(faiss.get_num_gpus())}
