import base64
import gzip
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bleep.errors import MismatchError
from bleep.predictors.conformal import Confidence, in_words
from bleep.viz.page import LEVELS, MISSING, Cell, Column, Grid, Nearest, Page, TissueView, quantised, write_page

SPOTS, GENES, K = 30, 6, 4


def view(section: str = "S1", **changes: Any) -> TissueView:
    random = np.random.default_rng(3)
    values = random.normal(size=(SPOTS, GENES)).astype(np.float32)
    nearest = Nearest(
        tuple(f"T1/{row}" for row in range(50)),
        random.integers(0, 50, (SPOTS, K)),
        random.uniform(0.5, 1, (SPOTS, K)).astype(np.float32),
        np.full((SPOTS, K), 1 / K, np.float32),
    )
    fields: dict[str, Any] = {
        "section": section,
        "picture": np.full((80, 100, 3), 200, np.uint8),
        "size": (1000.0, 800.0),
        "xy": np.stack([random.uniform(0, 1000, SPOTS), random.uniform(0, 800, SPOTS)], axis=1),
        "radius": 20.0,
        "ids": tuple(f"{section}/{row}" for row in range(SPOTS)),
        "predicted": values,
        "measured": values + 1,
        "uncertainty": np.abs(values),
        "nearest": nearest,
    } | changes
    return TissueView(**fields)


def page(*views: TissueView, **changes: Any) -> Page:
    table = Grid((Column("predictor"), Column("PCC", "Pearson r")), ((Cell("ridge", "ridge"), Cell("none", float("nan"))),))
    fields: dict[str, Any] = {
        "title": "A </script> title",
        "lead": "Said & done.",
        "genes": tuple(f"G{row}" for row in range(GENES)),
        "order": (3, 0, 1, 2, 4, 5),
        "scale": "log1p",
        "uncertainty": "spread",
        "views": views or (view(),),
        "table": table,
        "leak": ("none", "<b>patients</b> are apart"),
        "settings": "seed: 0\n",
    } | changes
    return Page(**fields)


def data_of(path: Path) -> dict[str, Any]:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', path.read_text(encoding="utf-8"), re.S)
    assert found is not None

    def refuse(word: str) -> None:
        raise AssertionError(f"{word} is no JSON")

    tree: dict[str, Any] = json.loads(found[1], parse_constant=refuse)
    return tree


def test_values_come_back_from_the_page_to_a_fraction_of_a_colour(tmp_path: Path) -> None:
    shown = view()
    assert write_page(page(shown), tmp_path / "page.html") == GENES
    data = data_of(tmp_path / "page.html")
    assert data["genes"] == ["G3", "G0", "G1", "G2", "G4", "G5"]
    layer = data["sections"][0]["layers"]["predicted"]
    levels = np.frombuffer(gzip.decompress(base64.b64decode(layer["packed"])), np.uint8).reshape(GENES, SPOTS)
    low, high = np.array(layer["low"]), np.array(layer["high"])
    decoded = low + levels.T / LEVELS * (high - low)
    width = np.ptp(shown.predicted, axis=0)[[3, 0, 1, 2, 4, 5]]
    assert (np.abs(decoded - shown.predicted[:, [3, 0, 1, 2, 4, 5]]) <= width / 254 * 0.51 + 1e-4).all()


def test_what_is_no_number_has_a_level_of_its_own_and_a_constant_gene_keeps_its_value() -> None:
    values = np.array([[1.0, np.nan, 2.0], [1.0, np.nan, np.nan], [1.0, np.nan, 4.0]], np.float32)
    found = quantised(values)
    levels = np.frombuffer(gzip.decompress(base64.b64decode(str(found["packed"]))), np.uint8).reshape(3, 3)
    np.testing.assert_array_equal(levels, [[0, 0, 0], [MISSING] * 3, [0, MISSING, LEVELS]])
    assert found["low"] == [1.0, 0.0, 2.0]
    assert found["high"] == [1.0, 0.0, 4.0]


def test_neighbours_are_named_by_the_spots_used_alone(tmp_path: Path) -> None:
    shown = view()
    write_page(page(shown), tmp_path / "page.html")
    found = data_of(tmp_path / "page.html")["sections"][0]["nearest"]
    rows = np.frombuffer(gzip.decompress(base64.b64decode(found["rows"])), "<i4").reshape(SPOTS, K)
    assert shown.nearest is not None
    named = [[found["names"][row] for row in line] for line in rows.tolist()]
    assert named == [[shown.nearest.names[row] for row in line] for line in shown.nearest.rows.tolist()]
    assert len(found["names"]) == len(np.unique(shown.nearest.rows))


def test_each_gene_has_its_correlation_beside_it_where_something_was_measured(tmp_path: Path) -> None:
    values = view().predicted
    noisy = values + np.random.default_rng(5).normal(size=values.shape).astype(np.float32)
    noisy[:, 2] = 1
    assert "uncertainty" in view().layers()
    write_page(page(view(measured=noisy), view("S2", measured=None)), tmp_path / "p.html")
    one, two = (section["layers"]["predicted"] for section in data_of(tmp_path / "p.html")["sections"])
    # Genes stand in the order of the page: columns 3, 0, 1, 2, 4, 5.
    expected = [np.corrcoef(values[:, column], noisy[:, column])[0, 1] for column in (3, 0, 1, 4, 5)]
    assert one["r"][3] is None
    assert [r for r in one["r"] if r is not None] == pytest.approx(expected, abs=1e-3)
    assert "r" not in two


def test_what_to_expect_of_each_gene_stands_beside_it_where_a_calibration_says(tmp_path: Path) -> None:
    scores = np.array([[0.5, np.nan], [0.3, np.nan]])
    trust = in_words(Confidence.of(scores).frame(["G3", "G0"]))
    assert trust["G3"] == "confidence high: r 0.40 (0.30 to 0.50) on left-out training tissue"
    assert trust["G0"] == "confidence low: it never varied on left-out training tissue"
    write_page(page(trust=trust), tmp_path / "p.html")
    assert data_of(tmp_path / "p.html")["trust"] == [trust["G3"], trust["G0"], None, None, None, None]
    assert in_words(None) == {}


def test_familiarity_is_a_layer_of_its_own_where_the_run_is_calibrated(tmp_path: Path) -> None:
    share = np.linspace(0, 1, SPOTS).astype(np.float32)
    write_page(page(view(familiarity=share), view("S2")), tmp_path / "p.html")
    one, two = data_of(tmp_path / "p.html")["sections"]
    found = np.frombuffer(gzip.decompress(base64.b64decode(one["tiles"]["familiarity"])), "<f4")
    np.testing.assert_allclose(found, share, atol=1e-3)
    assert two["tiles"] == {}
    with pytest.raises(MismatchError, match="3 familiarities came with 30 spots"):
        view(familiarity=share[:3])


def test_the_page_reaches_for_nothing_outside_itself(tmp_path: Path) -> None:
    write_page(page(), tmp_path / "page.html")

    class Addresses(HTMLParser):
        def __init__(self) -> None:
            super().__init__()
            self.found: list[str] = []

        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            self.found += [value or "" for name, value in attrs if name in ("src", "href")]

    parser = Addresses()
    parser.feed(re.sub(r"<script>.*?</script>", "", (tmp_path / "page.html").read_text(encoding="utf-8"), flags=re.S))
    assert parser.found == ["data:,"]


def test_words_of_the_user_are_never_taken_for_markup(tmp_path: Path) -> None:
    odd = "</script><script>alert(1)</script>"
    write_page(page(view(section=odd), settings=odd), tmp_path / "page.html")
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "alert(1)</script>" not in text
    assert "<b>patients</b>" not in text
    assert data_of(tmp_path / "page.html")["sections"][0]["name"] == odd


def test_genes_beyond_the_budget_are_left_out_the_least_wanted_first(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    wide = random.normal(size=(SPOTS, 400)).astype(np.float32)
    shown = view(predicted=wide, measured=None, uncertainty=None)
    large = page(shown, genes=tuple(f"G{row}" for row in range(400)), order=tuple(range(399, -1, -1)))
    whole = write_page(large, tmp_path / "whole.html")
    assert whole == 400
    size = (tmp_path / "whole.html").stat().st_size
    budget = size + 100_000
    while (some := write_page(large, tmp_path / "page.html", budget)) == 400:
        budget -= 10_000
    assert 0 < some < 400
    assert (tmp_path / "page.html").stat().st_size < budget
    data = data_of(tmp_path / "page.html")
    assert data["genes"] == [f"G{row}" for row in range(399, 399 - some, -1)]
    assert f"{some} of the 400 genes of the panel can be shown" in (tmp_path / "page.html").read_text(encoding="utf-8")


def test_other_predictions_have_keys_of_ours_and_a_score_where_they_are_numbers(tmp_path: Path) -> None:
    lacking = view().predicted.copy()
    lacking[:, 3] = np.nan
    shown = view(others={"</script>": lacking, "ridge": view().predicted}, predictor="combined")
    write_page(page(shown, grades={"G3": ("high", 0.4), "G0": ("low", float("nan"))}), tmp_path / "p.html")
    data = data_of(tmp_path / "p.html")
    assert data["grades"] == [["high", 0.4], ["low", None], None, None, None, None]
    layers = data["sections"][0]["layers"]
    assert {key: layer["title"] for key, layer in layers.items()} == {
        "measured": "measured", "predicted": "predicted (combined)", "uncertainty": "uncertainty", "other0": "</script>",
        "other1": "ridge",
    }  # fmt: skip
    assert layers["other0"]["r"][0] is None
    assert layers["other0"]["r"][1:] == layers["other1"]["r"][1:] == [1.0] * 5
    assert "r" not in layers["uncertainty"]


def test_neighbours_beyond_their_share_are_left_out_the_farthest_first(tmp_path: Path) -> None:
    write_page(page(view()), tmp_path / "p.html", budget=4 * 3 * SPOTS * 12)
    assert data_of(tmp_path / "p.html")["sections"][0]["nearest"]["k"] == 3
    assert "best neighbours alone" in (tmp_path / "p.html").read_text(encoding="utf-8")
    write_page(page(view()), tmp_path / "p.html", budget=4 * SPOTS * 11)
    assert data_of(tmp_path / "p.html")["sections"][0]["nearest"] is None


def test_the_same_page_has_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_page(page(), tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_a_layer_of_other_length_and_a_ragged_row_are_refused() -> None:
    with pytest.raises(MismatchError, match=r"S1: 29 rows of measured values came with 30 spots"):
        view(measured=np.zeros((29, GENES), np.float32))
    with pytest.raises(MismatchError, match=r"S1: 28 rows of ridge values came with 30 spots"):
        view(others={"ridge": np.zeros((28, GENES), np.float32)})
    with pytest.raises(MismatchError, match="1 cells under 2 headings"):
        Grid((Column("a"), Column("b")), ((Cell("x", "x"),),))
