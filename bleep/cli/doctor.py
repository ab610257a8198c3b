"""`bleep doctor`: what is installed, what is not, and what follows."""

import argparse
import importlib.metadata
import importlib.util
import platform
import shutil
import sys
from pathlib import Path

PACKAGES = ("torch", "torchvision", "timm", "accelerate", "numpy", "pandas", "scipy", "anndata", "pillow", "safetensors")
EXTRAS = {
    "plots": ("matplotlib", "sklearn", "umap"),
    "report": ("bokeh",),
    "spatialdata": ("spatialdata",),
    "wsi": ("tiffslide", "tifffile", "openslide", "pyvips", "skimage"),
    "harmony": ("harmonypy",),
    "tune": ("optuna",),
    "lora": ("peft",),
    "track": ("trackio",),
}
"""The modules each extra brings."""
ROOM = 5
"""GB of free disk below which runs and caches may not fit."""


def add(parser: argparse.ArgumentParser) -> None:
    """Add nothing but the command."""
    parser.set_defaults(run_command=_doctor)


def _doctor(arguments: argparse.Namespace) -> int:
    findings: list[str] = []
    print(f"bleep {importlib.metadata.version('bleep-st')}, Python {platform.python_version()} on {platform.platform()}")
    print("packages: " + ", ".join(f"{name} {importlib.metadata.version(name)}" for name in PACKAGES))
    findings += _devices()
    findings += _faiss()
    for extra, modules in EXTRAS.items():
        missing = [module for module in modules if importlib.util.find_spec(module) is None]
        hint = f"not installed (pip install -e '.[{extra}]' in bleep's clone)"
        print(f"extra {extra}: {hint if missing else 'installed'}")
    free = shutil.disk_usage(Path.cwd()).free / 1e9
    print(f"free disk here: {free:.0f} GB")
    if free < ROOM:
        findings.append(f"only {free:.1f} GB of disk are free here: runs and caches may not fit")
    for finding in findings:
        print(f"! {finding}")
    print("all is well" if not findings else f"{len(findings)} findings")
    return 1 if findings else 0


def _devices() -> list[str]:
    import torch

    found = torch.accelerator.current_accelerator(check_available=True)
    count = torch.accelerator.device_count() if found is not None else 0
    print(f"torch: CUDA build {torch.version.cuda or 'none'}, {count} accelerators, {torch.get_num_threads()} CPU threads")
    for number in range(count if found is not None and found.type == "cuda" else 0):
        memory = torch.cuda.get_device_properties(number).total_memory / 1e9
        print(f"  {torch.cuda.get_device_name(number)}, {memory:.0f} GB")
    try:
        import torchvision.ops  # noqa: F401
    except (ImportError, RuntimeError) as error:
        return [f"torchvision does not fit torch ({str(error).splitlines()[0]}): install both from the same index"]
    return []


def _faiss() -> list[str]:
    from bleep.retrieval.index import facts

    found = facts()
    print(f"FAISS {found['version']} ({found['options']}), {found['gpus']} GPUs")
    if sys.platform == "linux" and found["gpus"] == "0" and "GPU" not in found["options"]:
        import torch

        if torch.cuda.is_available():
            return ["FAISS is the CPU build, but there is a GPU: pip uninstall faiss-cpu; pip install faiss-gpu"]
    return []
