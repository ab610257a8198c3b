"""An archive of slides by Ray, by one process and by processes started by hand; all in one run.

    python benchmarks/speed/archive.py [--slides 24] [--side 1500] [--workers 2] [--out benchmarks/results]

Slides are toy tissue of a micron a pixel on glass. A run is trained on toy tissue for a moment, its reference built, and the
archive predicted three times: `--engine here`; `--engine here` in as many processes as there are
workers, each with every n-th slide; `--engine ray`. Every process has one thread. What the commands take to start counts.
The feature cache is emptied in between.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from bleep.config import Config
from bleep.data.slides import ArraySlide
from bleep.data.toy import toy_section, write_st2k
from bleep.files import write_json, write_text
from bleep.workflows.fit import fit
from bleep.workflows.query import build_reference


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--slides", type=int, default=24)
    parser.add_argument("--side", type=int, default=1500)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        slides, run = made(root, arguments)
        shares = [slides[part :: arguments.workers] for part in range(arguments.workers)]
        spread = ["--engine", "ray", "--workers", str(arguments.workers)]
        found = {
            "one process": timed(root, run, [(slides, ["--engine", "here"])]),
            f"{arguments.workers} processes by hand": timed(root, run, [(share, ["--engine", "here"]) for share in shares]),
            f"ray, {arguments.workers} workers": timed(root, run, [(slides, spread)]),
        }
    report(found, arguments)


def made(root: Path, arguments: argparse.Namespace) -> tuple[list[Path], Path]:
    """Draw the slides, train a run for a moment and build its reference."""
    sections = tuple(toy_section(f"toy{i}", f"donor{i // 2}", 40 + i, side=256, pitch=32) for i in range(4))
    write_st2k(sections, root / "tissue")
    tree = {
        "data": {"source": "st2k", "root": str(root / "tissue"), "mpp": 1.0, "split": "patient", "test": ["donor1"]},
        "tiles": {"pixels": 64, "microns": [64.0]},
        "panel": {"size": 50},
        "image": {"trunk": "resnet18", "weights": "random"},
        "optim": {"epochs": 1, "batch": 32},
        "out": str(root / "run"),
        "cache": str(root / "cache"),
    }
    build_reference(fit(Config.load(tree))).save(root / "run" / "reference")
    (root / "slides").mkdir()
    paths = []
    for number in range(arguments.slides):
        slide = toy_section(f"slide{number:03d}", "donor9", 100 + number, side=arguments.side).slide
        assert isinstance(slide, ArraySlide)
        paths.append(root / "slides" / f"slide{number:03d}.png")
        Image.fromarray(np.pad(slide.pixels, ((80, 80), (80, 80), (0, 0)), constant_values=240)).save(paths[-1])
    return paths, root / "run"


def timed(root: Path, run: Path, commands: list[tuple[list[Path], list[str]]]) -> float:
    """Return the seconds that commands take side by side."""
    shutil.rmtree(root / "cache", ignore_errors=True)
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    began, started = time.perf_counter(), []
    for number, (slides, flags) in enumerate(commands):
        out = root / f"out{time.time_ns()}-{number}"
        words = [sys.executable, "-m", "bleep", "query", "--slides", *map(str, slides), "--mpp", "1", "--run", str(run), *flags]
        started.append(subprocess.Popen([*words, "--out", str(out)], env=environment, stdout=subprocess.DEVNULL))
    if any(process.wait() for process in started):
        raise SystemExit("a command failed")
    return time.perf_counter() - began


def report(found: dict[str, float], arguments: argparse.Namespace) -> None:
    alone = next(iter(found.values()))
    lines = [
        "# An archive",
        "",
        f"`python benchmarks/speed/archive.py --slides {arguments.slides} --side {arguments.side} "
        f"--workers {arguments.workers}`, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} at the end; starting included.",
        "",
        "| how | seconds | slides a minute | against one process |",
        "| --- | --- | --- | --- |",
        *(
            f"| {name} | {taken:.1f} | {60 * arguments.slides / taken:.1f} | {alone / taken:.2f} |"
            for name, taken in found.items()
        ),
    ]
    text = "\n".join([*lines, ""])
    print(text)
    write_text(arguments.out / "archive.md", text)
    facts: dict[str, Any] = {"slides": arguments.slides, "side": arguments.side, "seconds": found}
    write_json(arguments.out / "archive.json", facts)


if __name__ == "__main__":
    main()
