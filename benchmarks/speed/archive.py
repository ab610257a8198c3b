"""An archive of slides by Ray, by one process and by processes started by hand; all in one run.

    python benchmarks/speed/archive.py [--slides 24] [--sides 1500 6000] [--workers 2] [--out benchmarks/results]

Slides are toy tissue of a micron a pixel on glass. A run is trained on toy tissue for a moment, its reference built, and for
each size of slide the archive predicted three times: `--engine here`; `--engine here` in as many processes as there are
workers, each with every n-th slide; `--engine ray`. Every process has one thread. What the commands take to start counts.
The feature cache is emptied in between. The load is what other programs and the commands themselves put on the machine in the
minute before each begins.
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

DRAWN = 1000
"""Pixels of the side of what is drawn; larger slides repeat it, as drawing takes longer than predicting."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--slides", type=int, default=24)
    parser.add_argument("--sides", type=int, nargs="+", default=[1500, 6000])
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    arguments = parser.parse_args()
    found: list[dict[str, Any]] = []
    for side in arguments.sides:
        with tempfile.TemporaryDirectory() as folder:
            root = Path(folder)
            slides, run = made(root, side, arguments.slides)
            shares = [slides[part :: arguments.workers] for part in range(arguments.workers)]
            ways: dict[str, list[tuple[list[Path], list[str]]]] = {
                "one process": [(slides, ["--engine", "here"])],
                f"{arguments.workers} processes by hand": [(share, ["--engine", "here"]) for share in shares],
                f"ray, {arguments.workers} workers": [(slides, ["--engine", "ray", "--workers", str(arguments.workers)])],
            }
            for way, commands in ways.items():
                load = os.getloadavg()[0]
                found.append({"side": side, "how": way, "seconds": timed(root, run, commands), "load": load})
                report(found, arguments)


def made(root: Path, side: int, count: int) -> tuple[list[Path], Path]:
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
    for number in range(count):
        slide = toy_section(f"slide{number:03d}", "donor9", 100 + number, side=DRAWN).slide
        assert isinstance(slide, ArraySlide)
        pixels = np.tile(slide.pixels, (-(-side // DRAWN), -(-side // DRAWN), 1))[:side, :side]
        paths.append(root / "slides" / f"slide{number:03d}.png")
        Image.fromarray(np.pad(pixels, ((80, 80), (80, 80), (0, 0)), constant_values=240)).save(paths[-1])
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


def report(found: list[dict[str, Any]], arguments: argparse.Namespace) -> None:
    lines = [
        "# An archive",
        "",
        f"`python benchmarks/speed/archive.py --slides {arguments.slides} --sides {' '.join(map(str, arguments.sides))} "
        f"--workers {arguments.workers}`, {os.cpu_count()} cores; starting included.",
        "",
        "| side of a slide, pixels | how | seconds | slides a minute | against one process | load before |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for each in found:
        alone = next(other["seconds"] for other in found if other["side"] == each["side"])
        lines.append(
            f"| {each['side']} | {each['how']} | {each['seconds']:.1f} | {60 * arguments.slides / each['seconds']:.1f} "
            f"| {alone / each['seconds']:.2f} | {each['load']:.1f} |"
        )
    print(lines[-1], flush=True)
    write_text(arguments.out / "archive.md", "\n".join([*lines, ""]))
    write_json(arguments.out / "archive.json", {"slides": arguments.slides, "workers": arguments.workers, "found": found})


if __name__ == "__main__":
    main()
