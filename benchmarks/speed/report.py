"""What it takes to make the page and the figures of a large section: seconds and memory.

    python benchmarks/speed/report.py

A section of 5,000 spots and 2,000 genes, of made-up values, measured, predicted and uncertain, with 20 neighbours a spot and
a picture of 1,400 pixels. Everything is drawn that `bleep evaluate --report --figures` draws from one run. The record goes to
benchmarks/results/report.{md,json}.
"""

import argparse
import resource
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bleep.files import write_json, write_text
from bleep.viz.figures.style import Drawing, save
from bleep.viz.figures.tissue_maps import gene_map, gene_relations, ranked, variances
from bleep.viz.figures.training import METHODS, error_by_uncertainty, joint_space
from bleep.viz.page import Nearest, Page, TissueView, write_page

RESULTS = Path(__file__).resolve().parents[1] / "results"
SPOTS, GENES, SIDE, K = 5_000, 2_000, 10_000, 20


def main() -> None:
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args()
    view = made_up()
    genes = tuple(f"GENE{row}" for row in range(GENES))
    seconds: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as temporary:
        page = Page("Made up", "5,000 spots.", genes, tuple(range(GENES)), "log1p", "spread", (view,))
        path = Path(temporary) / "page.html"
        shown = timed(seconds, "page", lambda: write_page(page, path))
        size = path.stat().st_size
        for name, draw in figures(view, genes):
            timed(seconds, name, lambda draw=draw: save(draw(), Path(temporary)))
    record = {
        "spots": SPOTS,
        "genes": GENES,
        "seconds": {name: round(value, 2) for name, value in seconds.items()},
        "seconds_in_all": round(sum(seconds.values()), 1),
        "peak_gb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6, 2),
        "page_mb": round(size / 1e6, 1),
        "genes_in_page": shown,
    }
    write_json(RESULTS / "report.json", record)
    lines = ["# The page and the figures of 5,000 spots and 2,000 genes", "", "`python benchmarks/speed/report.py`", ""]
    lines += ["| what | seconds |", "| --- | ---: |", *(f"| {name} | {value:.2f} |" for name, value in seconds.items())]
    lines += [f"| in all | {record['seconds_in_all']} |", "", f"Peak memory {record['peak_gb']} GB, made-up values included; "]
    lines[-1] += f"the page has {record['page_mb']} MB and shows {shown} of the genes. Asked: below 60 s, 3 GB and 15 MB."
    write_text(RESULTS / "report.md", "\n".join([*lines, ""]))
    print("\n".join(lines))


def timed(seconds: dict[str, float], name: str, work: Callable[[], Any]) -> Any:
    start = time.perf_counter()
    found = work()
    seconds[name] = time.perf_counter() - start
    return found


def made_up() -> TissueView:
    """Values with waves over the section and noise, rounded to counts as measured ones are."""
    random = np.random.default_rng(0)
    at = np.arange(SPOTS)
    xy = np.stack([at % 71, at // 71], axis=1) * (SIDE / 72) + SIDE / 72
    phase = random.uniform(0, 6, GENES)
    waves = np.sin(xy[:, :1] / 900 + phase) + np.cos(xy[:, 1:] / 1300 + 2 * phase)
    measured = np.log1p(random.poisson(np.exp(waves - 0.5))).astype(np.float32)
    nearest = Nearest(
        tuple(f"T/{row}" for row in range(SPOTS)), random.integers(0, SPOTS, (SPOTS, K)),
        np.sort(random.uniform(0.5, 1, (SPOTS, K)).astype(np.float32))[:, ::-1].copy(), np.full((SPOTS, K), 1 / K, np.float32),
    )  # fmt: skip
    picture = random.integers(150, 255, (1400, 1400, 3), dtype=np.uint8)
    uncertainty = np.abs(random.normal(size=waves.shape)).astype(np.float32)
    names = tuple(f"S/{row}" for row in range(SPOTS))
    side = (float(SIDE), float(SIDE))
    return TissueView("S", picture, side, xy, 60.0, names, waves.astype(np.float32), measured, uncertainty, nearest)


def figures(view: TissueView, genes: tuple[str, ...]) -> Iterator[tuple[str, Callable[[], Drawing]]]:
    measured, predicted, uncertainty = view.measured, view.predicted, view.uncertainty
    assert measured is not None
    assert uncertainty is not None
    for column in range(4):
        yield f"map {column + 1}", lambda column=column: gene_map(view, column, genes[column], "log1p", "spread")
    random = np.random.default_rng(1)
    names = ("combined", "retrieval", "regression", "ridge", "image-kNN", "ridge on colour", "mean")
    scores = pd.DataFrame({name: random.uniform(0, 1, GENES) for name in names}, index=list(genes))
    yield "genes ranked", lambda: ranked(scores, "combined")
    yield "variances", lambda: variances(measured, predicted)
    yield "gene relations", lambda: gene_relations(measured, predicted, genes, np.arange(50))
    yield "error by uncertainty", lambda: error_by_uncertainty(predicted - measured, uncertainty, "spread")
    sides = [random.normal(size=(SPOTS, 256)).astype(np.float32) for _ in range(2)]
    unit = [side / np.linalg.norm(side, axis=1, keepdims=True) for side in sides]
    for method in METHODS:
        yield f"joint space, {method}", lambda method=method: joint_space(unit[0], unit[1], {}, method, 0)


if __name__ == "__main__":
    main()
