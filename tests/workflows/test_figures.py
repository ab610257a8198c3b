"""The figures and the page of an evaluation, from real runs on toy tissue."""

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from bleep.cli import app, look_flags
from bleep.config import Config
from bleep.data.section import Section
from bleep.runs import Run
from bleep.viz.figures import save
from bleep.viz.figures.tissue_maps import bar_length, correlation, gene_map, gene_relations, ranked, variances
from bleep.viz.figures.training import coverage, error_by_uncertainty, joint_space
from bleep.viz.page import TissueView
from bleep.workflows import figures, report
from bleep.workflows.evaluate import evaluate
from bleep.workflows.figures import draw_figures
from bleep.workflows.fit import fit
from bleep.workflows.opened import opened
from bleep.workflows.query import build_reference
from bleep.workflows.report import held_out_sections, shared_genes, uncertainty_of

pytest.importorskip("matplotlib", reason="figures need the extra `plots`")
FIGURES = {
    "genes_ranked",
    "variances",
    "gene_relations",
    "error_by_uncertainty",
    "joint_space_umap",
    "joint_space_tsne",
    "training",
    "occlusion_1",
}


def data_of(page: Path) -> dict[str, object]:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page.read_text(encoding="utf-8"), re.S)
    assert found is not None
    tree: dict[str, object] = json.loads(found[1])
    return tree


@pytest.mark.slow
def test_evaluate_draws_every_figure_and_a_page(
    run_copy: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, figures, page = run_copy(), tmp_path / "figures", tmp_path / "page.html"
    panel = json.loads((folder / "panel.json").read_text())["genes"]
    words = ["evaluate", "--run", str(folder), "--figures", str(figures), "--genes", panel[2], "--heat-maps", "1"]
    words += ["--report", str(page), "--umap"]
    assert app.main(words) == 0
    sections = [one.section.name for one in held_out_sections(opened([folder]))]
    maps = {f"map_{name}_{panel[2]}" for name in sections}
    assert {path.stem for path in figures.glob("*.png")} == FIGURES | maps
    assert {path.stem for path in figures.glob("*.svg")} == FIGURES | maps
    assert all(name in (figures / "README.md").read_text() for name in FIGURES | maps)
    data = data_of(page)
    shown = data["sections"]
    assert isinstance(shown, list)
    assert [one["name"] for one in shown] == sections
    assert {key: layer["title"] for key, layer in shown[0]["layers"].items()} == {
        "measured": "measured", "predicted": "predicted (retrieval)", "uncertainty": "uncertainty", "other0": "ridge",
    }  # fmt: skip
    table = data["table"]
    assert isinstance(table, dict)
    assert {"retrieval", "ridge", "mean"} <= {row[0]["text"] for row in table["rows"]}
    assert "genes_ranked.png: " in capsys.readouterr().out
    assert app.main(words) == 2
    assert "is there already" in capsys.readouterr().err


def test_a_run_without_a_log_and_a_table_of_others_are_drawn_without_them(
    run_copy: Callable[..., Path], tmp_path: Path
) -> None:
    """As runs kept after an epoch, and protocols with a predictor of their own, are."""
    folder = run_copy("regression")
    (folder / "log.jsonl").unlink()
    table = evaluate([folder])
    cards = tuple(card for card in table.cards if card.predictor != "regression")
    found = draw_figures(
        opened([folder]), replace(table, cards=cards, rows=table.rows.drop("regression")), tmp_path / "figures"
    )
    assert "training" not in found
    assert "joint_space_umap" not in found
    assert "genes_ranked" in found


@pytest.mark.parametrize("kind", ["a batch correction", "absent genes"])
def test_the_shared_space_is_left_out_where_test_spots_have_no_place_in_it(
    kind: str, recipe: Callable[..., dict[str, Any]], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Their expression cannot be embedded; the scores of ranking are left out alike."""
    run = tmp_path / "run"
    over = {"panel": {"batch": "center"}} if kind == "a batch correction" else {"panel": {"absent": "skip"}}
    fit(Config.load(recipe(run, over | {"optim": {"epochs": 1}})))
    build_reference(Run.load(run)).save(run / "reference")
    experiments = opened([run])
    if kind == "absent genes":
        (one,) = experiments
        there = one.run.panel.genes[3]
        fewer = [replace(each, counts=each.counts[:, each.genes != there].copy()) for each in one.split.test]
        one.__dict__["split"] = replace(one.split, test=tuple(fewer))
    table = evaluate(experiments, all_scores=True)
    assert list(figures._space(held_out_sections(experiments), ["t-SNE"])) == []
    assert "is not drawn: " in caplog.text
    assert not [name for name in table.rows if str(name).startswith("recall")]


def test_a_query_writes_a_page_beside_its_prediction(run_copy: Callable[..., Path], files: Path, tmp_path: Path) -> None:
    folder, page = run_copy(), tmp_path / "page.html"
    words = ["query", "--run", str(folder), "--images", str(files / "folder" / "test.csv"), "--mpp", "1", "--out"]
    words.append(str(tmp_path / "p.h5ad"))
    assert app.main([*words, "--report", str(page)]) == 0
    shown = data_of(page)["sections"]
    assert isinstance(shown, list)
    assert "predicted" in shown[0]["layers"]
    assert shown[0]["nearest"]["k"] == 10


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--heat-maps", "2"], "expected a number of tiles, with --figures"),
        (["--paper"], "name their folder with --figures"),
        (["--umap"], "name the folder with --figures"),
        (["--report", "page.pdf"], "expected a name ending in .html"),
        (["--figures", "{folder}"], "is there already"),
        (["--figures", "{folder}/new", "--genes", "NOGENE"], "NOGENE is not in the panel"),
    ],
)
def test_a_look_that_cannot_be_had_is_one_sentence(
    words: list[str], said: str, run_copy: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = run_copy()
    assert app.main(["evaluate", "--run", str(folder), *(word.format(folder=folder) for word in words)]) == 2
    assert said in capsys.readouterr().err
    assert not (folder / "new").exists()
    assert not (folder / "evaluation.json").exists()


def test_a_page_of_too_many_held_out_tiles_is_refused_before_they_are_scored(
    run_copy: Callable[..., Path], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(look_flags, "MOST", 10)
    folder = run_copy("regression")
    assert app.main(["evaluate", "--run", str(folder), "--report", str(folder / "page.html")]) == 2
    assert "at most 10 tiles" in capsys.readouterr().err
    assert not (folder / "page.html").exists()
    assert not (folder / "evaluation.json").exists()


def test_rows_of_a_prediction_are_those_rows(run_copy: Callable[..., Path]) -> None:
    (one, *_) = held_out_sections(opened([run_copy()]))
    part = one.prediction[3:8]
    np.testing.assert_array_equal(part.expression, one.prediction.expression[3:8])
    assert part.neighbors is not None
    assert one.prediction.neighbors is not None
    np.testing.assert_array_equal(part.neighbors.rows, one.prediction.neighbors.rows[3:8])
    assert list(part.spots.index) == list(one.prediction.spots.index[3:8])
    genes = shared_genes([one])[::-1][:4]
    view = one.view(genes)
    columns = [one.run.panel.genes.index(gene) for gene in genes]
    np.testing.assert_array_equal(view.predicted, one.prediction.expression[:, columns])
    assert uncertainty_of(one.prediction)[1] == "standard deviation over the neighbours"
    whole = one.experiment.select().predict(one.run.tiles((one.section,)))
    np.testing.assert_array_equal(part.expression, whole.expression[3:8])


def view(**changes: object) -> TissueView:
    random = np.random.default_rng(0)
    measured = random.normal(size=(40, 3)).astype(np.float32)
    fields: dict[str, object] = {
        "section": "S 1/a",
        "picture": np.full((30, 40, 3), 220, np.uint8),
        "size": (400.0, 300.0),
        "xy": random.uniform(50, 250, (40, 2)),
        "radius": 8.0,
        "ids": tuple(map(str, range(40))),
        "predicted": (0.5 * measured).astype(np.float32),
        "measured": measured,
    } | changes
    return TissueView(**fields)  # type: ignore[arg-type]


def test_a_map_says_what_it_shows_and_leaves_out_what_is_not_there() -> None:
    drawn = gene_map(view(), 1, "G$1", "log1p", "none")
    assert "r = 1.00" in drawn.finding
    assert "0.50 times as wide" in drawn.finding
    assert "/" not in drawn.name
    titles = [axes.get_title() for axes in drawn.figure.axes if axes.get_title()]
    assert titles == ["H&E", "measured", "predicted", "error"]
    alone = gene_map(view(measured=None), 1, "G1", "log1p", "none")
    assert [axes.get_title() for axes in alone.figure.axes if axes.get_title()] == ["H&E", "predicted"]
    flat = np.ones((40, 3), np.float32)
    assert "does not vary" in gene_map(view(measured=flat), 1, "G1", "log1p", "none").finding


@pytest.mark.parametrize(("microns", "bar"), [(99.0, 50.0), (100.0, 100.0), (1999.0, 1000.0), (0.7, 0.5)])
def test_a_scale_bar_has_a_round_length(microns: float, bar: float) -> None:
    assert bar_length(microns) == pytest.approx(bar)


def test_a_map_has_a_scale_bar_of_true_length_where_the_scale_is_known() -> None:
    def bars(**changes: object) -> list[tuple[str, float]]:
        axes = gene_map(view(**changes), 0, "G1", "log1p", "none").figure.axes[0]
        left, right = axes.get_xlim()
        return [
            (text.get_text(), float(np.ptp(line.get_xdata())) * (right - left))
            for text, line in zip(axes.texts, axes.lines, strict=True)
        ]

    ((words, pixels),) = bars(mpp=4.0)
    assert words == "200 µm"
    assert pixels == pytest.approx(200 / 4.0)
    assert bars() == []


def test_for_a_paper_words_stay_words_and_titles_go(tmp_path: Path) -> None:
    for folder, paper in (("look", False), ("paper", True)):
        (tmp_path / folder).mkdir()
        save(gene_map(view(mpp=4.0), 0, "G1", "log1p", "none"), tmp_path / folder, paper=paper)
    looks, papers = (sorted((tmp_path / name).iterdir()) for name in ("look", "paper"))
    assert [path.suffix for path in looks] == [".png", ".svg"]
    assert [path.suffix for path in papers] == [".pdf", ".png", ".svg"]
    look, paper = (paths[-1].read_text(encoding="utf-8") for paths in (looks, papers))
    for text in (look, paper):
        assert ">200 µm</text>" in text
        assert ">predicted</text>" in text
    assert "between predicted and measured" in look
    assert "between predicted and measured" not in paper
    assert papers[0].read_bytes().startswith(b"%PDF")


def test_measured_and_predicted_share_their_colours_and_the_error_is_centred() -> None:
    drawn = gene_map(view(), 0, "G1", "log1p", "none")
    limits = {
        axes.get_title(): axes.collections[0].get_clim() for axes in drawn.figure.axes if axes.collections and axes.get_title()
    }
    assert limits["measured"] == limits["predicted"]
    low, high = limits["error"]
    assert low == -high


def test_gene_relations_are_numpys_and_constant_genes_relate_to_none() -> None:
    values = np.random.default_rng(0).normal(size=(50, 6))
    values[:, 2] = 3.0
    r = correlation(values)
    keep = [0, 1, 3, 4, 5]
    np.testing.assert_allclose(r[np.ix_(keep, keep)], np.corrcoef(values[:, keep].T), atol=1e-12)
    assert (r[2] == 0).all()
    drawn = gene_relations(values, 2 * values, tuple("abcdef"), np.arange(6))
    assert "r = 1.00" in drawn.finding
    assert "Too few" in gene_relations(values, values, tuple("abcdef"), np.arange(2)).finding
    assert "Too few" in gene_relations(values * [1, 1, 0, 0, 0, 0], values, tuple("abcdef"), np.arange(6)).finding


def test_variance_and_uncertainty_are_told_as_they_are() -> None:
    random = np.random.default_rng(1)
    measured = random.normal(size=(400, 20))
    assert "vary 0.25 times" in variances(measured, measured / 2).finding
    assert "vary 0.25 times" in variances(1e-8 * measured, 5e-9 * measured).finding
    # Genes predicted alike everywhere count, though they have no place on the axes; those not measured to vary do not.
    assert "vary 0.00 times" in variances(measured, measured * 0).finding
    flat = pd.DataFrame({"combined": [np.nan, np.nan], "ridge": [np.nan, np.nan]}, index=["A", "B"])
    for drawn in (variances(measured * 0, measured), ranked(flat, "combined")):
        assert "o gene varies" in drawn.finding
        assert "nan" not in drawn.finding
    said = random.uniform(0.5, 2.0, size=(400, 20))
    honest = error_by_uncertainty(random.normal(size=said.shape) * said, said, "told").finding
    assert "rises with it" in honest
    assert float(honest.split("is ")[1].split(" ")[0]) == pytest.approx(1, abs=0.05)
    assert "hardly rises" in error_by_uncertainty(random.normal(size=said.shape), np.ones_like(said), "told").finding
    # Half the widths of intervals that hold 90 % of a normal distribution: 1.645 standard deviations.
    widths = error_by_uncertainty(random.normal(size=said.shape) * said, 1.645 * said, "half width", 0.9).finding
    assert float(widths.split("is ")[1].split(" ")[0]) == pytest.approx(1, abs=0.05)
    shares = np.stack([np.full(20, 0.9), np.full(20, 0.8)])
    assert "90% in A, 80% in B" in coverage(shares, 0.9, ("A", "B")).finding


def test_every_block_that_folds_of_one_section_held_out_is_shown(recipe: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    over = {"loss": {"task": "regression"}, "optim": {"epochs": 1, "batch": 8}, "panel": {"choice": "all"}}
    data = {"split": "block", "test": [], "folds": 2, "sections": ["toy1"], "margin": 0.0}
    folders = [tmp_path / f"fold{fold}" for fold in range(2)]
    runs = [fit(Config.load(recipe(out, over, {"data": data | {"fold": at}}))) for at, out in enumerate(folders)]
    experiments = opened(folders)
    seen = held_out_sections(experiments)
    assert [one.name for one in seen] == ["toy1 of fold0", "toy1 of fold1"]
    assert [len(one.section) for one in seen] == [sum(map(len, each.split.test)) for each in experiments]
    page = report.evaluation_page(experiments, evaluate(folders))
    assert [view.section for view in page.views] == ["toy1 of fold0", "toy1 of fold1"]
    assert page.lead.startswith("Sections toy1 of fold0, toy1 of fold1")
    assert len(runs) == len(seen)


def test_uncertainty_of_one_kind_is_not_laid_beside_that_of_another(trained: dict[str, Path]) -> None:
    first, second = held_out_sections(opened([trained["contrastive"]]))
    value = second.prediction.expression
    bounded = replace(second, prediction=second.prediction.replaced(layers={"lower": value - 100, "upper": value + 100}))
    (alone,) = figures._uncertainty([first])
    error, held = figures._uncertainty([first, bounded])
    assert error.finding == alone.finding
    assert held.finding.endswith(f"hold 100% in {second.name}")
    told, genes = uncertainty_of(first.prediction)[1], first.run.panel.genes[:1]
    assert first.view(genes, told=told).uncertainty is not None
    assert bounded.view(genes, told=told).uncertainty is None
    assert bounded.view(genes).uncertainty is not None


def test_a_space_that_fell_into_one_point_finds_no_tile() -> None:
    alike = np.ones((20, 4), np.float32) / 2
    assert "at median rank 20 of 20" in joint_space(alike, alike, {}, "t-SNE", 0).finding


def test_spots_at_one_place_are_drawn_as_large_as_a_lone_one(toys: tuple[Section, ...]) -> None:
    lone, heap = toys[0].subset(np.array([3])), replace(toys[0], xy=np.full_like(toys[0].xy, 100.0))
    assert report._laid_out(heap)[3] == report._laid_out(lone)[3] > 0
