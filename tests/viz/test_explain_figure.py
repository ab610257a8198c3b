"""The picture of an explanation: valid files, nothing written over anything else."""

from itertools import combinations
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from matplotlib.legend import Legend
from PIL import Image

from bleep.viz.figures.explanation import PICTURED, draw, drawing
from bleep.viz.neighbors import Explanation, NeighborView, gene_views

LONG = "log1p of counts per 10000, total over the panel's genes, training sections corrected by median"


def made(windows: int = 1, used: int = 20, genes: int = 30, *, tiles: bool = True, name: str = "C4/12x7") -> Explanation:
    rng = np.random.default_rng(0)
    picture = rng.integers(0, 255, (windows, 3, 24, 24), dtype=np.uint8)
    neighbors = tuple(
        NeighborView(f"C{i % 3}/{i}x7", f"C{i % 3}", f"{i}x7", "C", 0.9 - i / 100, 1 / used, picture if tiles else None)
        for i in range(used)
    )
    values = rng.gamma(2.0, 1.0, (used, genes)).astype(np.float32)
    values[:, : genes // 2] = 6 + values[:, : genes // 2] / 9
    agreed, disputed = gene_views(
        [f"GENE-OF-A-LONG-NAME-{i}" for i in range(genes)], values.mean(axis=0) + 1, values,
        np.full(used, 1 / used, np.float32), np.full(genes, 2.0), np.ones(genes),
    )  # fmt: skip
    return Explanation(name, picture, (55.0, 110.0, 220.0)[:windows], neighbors, agreed, disputed, LONG, "retrieval")


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as picture:
        return np.asarray(picture.convert("L")).astype(int)


@pytest.mark.slow
def test_both_files_are_valid_and_show_the_same_each_time(tmp_path: Path) -> None:
    for name in ("first", "second"):
        draw(made(2), tmp_path / name)
    first, second = pixels(tmp_path / "first.png"), pixels(tmp_path / "second.png")
    assert min(first.shape) > 500
    assert first.std() > 10
    # The layout is solved in floating point, in an order of its own.
    assert (first != second).mean() < 0.001
    words = [[text.get_text() for text in visible(drawing(made(2), "tile").figure)] for _ in range(2)]
    assert words[0] == words[1]
    assert len(words[0]) > 30
    assert ElementTree.parse(tmp_path / "first.svg").getroot().tag.endswith("svg")


def visible(figure: Any) -> list[Any]:
    """All words that are drawn; ticks beyond the ends of an axis are not."""
    found = [*figure.findobj(Legend)[0].get_texts(), figure._suptitle]
    for axes in figure.axes:
        found += [axes.title, axes._left_title, axes.xaxis.label, axes.yaxis.label, *axes.texts]
        for ticks, (low, high) in ((axes.get_xticklabels(), axes.get_xlim()), (axes.get_yticklabels(), axes.get_ylim())):
            at = 0 if ticks and ticks[0] in axes.get_xticklabels() else 1
            found += [tick for tick in ticks if min(low, high) <= tick.get_position()[at] <= max(low, high)]
    return [text for text in found if text.get_text().strip()]


@pytest.mark.parametrize(
    "one",
    [
        made(1),
        made(3),
        made(2, used=PICTURED, name="a section with a very long name indeed/and a spot with another"),
        made(2, used=3, tiles=False),
        made(1, used=1),
        made(1, genes=1),
    ],
    ids=["one window", "three windows", "long names", "few neighbours", "one neighbour", "one gene"],
)
def test_no_words_lie_over_others_or_beyond_the_picture(one: Explanation) -> None:
    figure = drawing(one, "tile").figure
    figure.draw_without_rendering()
    boxes = [(text.get_text(), text.get_window_extent()) for text in visible(figure)]
    assert len(boxes) > 10
    for words, box in boxes:
        assert box.x0 >= -1, words
        assert box.x1 <= figure.bbox.x1 + 1, words
        assert box.y0 >= -1, words
        assert box.y1 <= figure.bbox.y1 + 1, words
    for (first, a), (second, b) in combinations(boxes, 2):
        apart = a.x1 <= b.x0 + 1 or b.x1 <= a.x0 + 1 or a.y1 <= b.y0 + 1 or b.y1 <= a.y0 + 1
        assert apart, (first, second)


def test_every_gene_and_neighbour_shown_is_named_with_units() -> None:
    one = made(2)
    said = [text.get_text() for text in drawing(one, "tile").figure.findobj(lambda a: type(a).__name__ == "Text")]
    joined = " ".join(" ".join(said).split())
    for view in (*one.agreed, *one.disputed):
        assert view.gene in said
    for view in one.neighbors[:PICTURED]:
        assert f". {view.id} similarity {view.similarity:.2f}, weight 5 %" in joined
    assert f"9. {one.neighbors[PICTURED].id}" not in joined
    assert f"expression ({LONG})" in joined
    assert "110 µm" in joined
    for label in ("neighbours shown above", "other neighbours", "neighbours' mean", "predicted", "training mean ± 1 sd"):
        assert label in said
