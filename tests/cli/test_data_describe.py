"""`bleep data describe`, as users type it."""

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from anndata import AnnData

from bleep.cli import app
from bleep.viz.figures import on_tissue
from bleep.workflows import describe as describing


@pytest.fixture(scope="module")
def described(recipe: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A description of toy tissue of two donors."""
    root = tmp_path_factory.mktemp("described")
    (root / "own.yaml").write_text(yaml.safe_dump(recipe(root / "run")))
    assert app.main(["data", "describe", "--config", str(root / "own.yaml"), "--out", str(root / "out")]) == 0
    return root / "out"


@pytest.mark.slow
def test_every_table_and_figure_is_there_and_the_index_names_each(described: Path) -> None:
    figures = {f"{name}.{form}" for name in describing.FIGURES for form in ("png", "svg")}
    assert {path.name for path in described.iterdir()} == {"README.md", *describing.TABLES, *figures}
    index = (described / "README.md").read_text()
    assert all(f"({name})" in index for name in (*describing.TABLES, *figures))
    assert "test sections included" in index
    assert "log1p of counts per 10000" in index
    assert "4 sections, " in index


@pytest.mark.slow
def test_the_tables_hold_what_the_index_says(described: Path, toys: tuple[Any, ...]) -> None:
    tables = {name: pd.read_csv(described / name) for name in describing.TABLES}
    assert list(tables["sections.csv"]["section"]) == ["toy1", "toy2", "toy3", "toy4"]
    assert len(tables["genes.csv"]) == 60
    assert list(tables["genes.csv"]["rank_variance"]) == list(range(1, 61))
    assert list(tables["outliers.csv"]) == ["spot", "section", "measure", "value", "limit", "reason"]
    assert list(tables["gene_pairs.csv"]) == ["gene_a", "gene_b", "r", "r_within"]
    maps = tables["maps.csv"]
    assert list(maps) == ["section", "spot", "tsne_1", "tsne_2", "umap_1", "umap_2"]
    assert list(maps["section"] + "/" + maps["spot"]) == [name for section in toys for name in section.ids]
    assert np.isfinite(maps[["tsne_1", "umap_2"]]).all(axis=None)


@pytest.mark.slow
def test_an_earlier_description_is_replaced_with_one_of_other_settings(described: Path, tmp_path: Path) -> None:
    import shutil

    out = tmp_path / "out"
    shutil.copytree(described, out)
    recipe = described.parent / "own.yaml"
    flags = ["--data.sections", "toy1", "--panel.normalise", "none"]
    assert app.main(["data", "describe", "--config", str(recipe), "--out", str(out), *flags]) == 0
    assert list(pd.read_csv(out / "sections.csv")["section"]) == ["toy1"]
    assert "values as in the files" in (out / "README.md").read_text()


@pytest.mark.slow
def test_what_is_said_ends_with_the_warning_and_the_index(
    described: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(describing.exploration_maps, "MOST_POINTS", 60)
    assert app.main(["data", "describe", "--config", str(described.parent / "own.yaml")]) == 0
    out = capsys.readouterr().out.splitlines()
    assert out[0].startswith("4 sections, ")
    assert "choose no gene" in out[-2]
    assert out[-1].startswith("describe/README.md")
    assert len(pd.read_csv("describe/maps.csv")) == 60
    assert "60 of " in Path("describe/README.md").read_text()


@pytest.fixture
def refused(recipe: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Any:
    """Run the command with an own recipe and return its one sentence; nothing may be written."""

    def check(out: Path, *flags: str, **data: Any) -> str:
        (tmp_path / "own.yaml").write_text(yaml.safe_dump(recipe(tmp_path / "run", {"data": data})))
        before = sorted(tmp_path.rglob("*"))
        assert app.main(["data", "describe", "--config", str(tmp_path / "own.yaml"), "--out", str(out), *flags]) == 2
        assert sorted(tmp_path.rglob("*")) == before
        last = capsys.readouterr().err.strip().splitlines()[-1]
        assert last.startswith("bleep: ")
        return last

    return check


def test_a_folder_with_other_files_and_a_file_are_left_alone(refused: Any, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("years of work")
    assert "holds 'thesis.tex', which is no part of a description" in refused(tmp_path / "mine")
    assert "is a file" in refused(tmp_path / "mine" / "thesis.tex")


def test_without_the_extra_it_says_which_one_is_needed(refused: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *more: None if name == "umap" else find(name, *more))
    assert "draws with umap, not installed here" in refused(tmp_path / "out")
    assert "pip install -e '.[plots]'" in refused(tmp_path / "out")


def test_tissue_without_counts_cannot_be_described(refused: Any, tmp_path: Path, files: Path) -> None:
    told = refused(tmp_path / "out", "--data.test", source="folder", root=str(files / "folder" / "test"), split="section")
    assert "nothing was measured" in told


def test_an_unknown_setting_is_an_error_here_too(refused: Any, tmp_path: Path) -> None:
    assert "unknown setting" in refused(tmp_path / "out", rooot="here")


@pytest.mark.data
@pytest.mark.slow
def test_her2st_is_described_with_what_is_known_of_it(shared: Path, repository: Path, tmp_path: Path) -> None:
    recipe = str(repository / "configs" / "her2st-b.yaml")
    flags = ["--data.root", str(shared / "data" / "her2st"), "--data.sections", "B4", "C2"]
    assert app.main(["data", "describe", "--config", recipe, *flags, "--out", str(tmp_path / "out")]) == 0
    sections = pd.read_csv(tmp_path / "out" / "sections.csv").set_index("section")
    assert sections.loc["B4", "total_median"] == 648
    assert list(sections["spots"]) == [283, 187]
    top = pd.read_csv(tmp_path / "out" / "genes.csv").set_index("gene")
    assert {"ERBB2", "MUCL1", "IGLC2"} <= set(top.index[:20])
    assert top.loc["MUC6", "zeros"] > 0.5


def test_values_that_are_the_same_in_every_spot_are_refused_as_such(
    refused: Any, tmp_path: Path, toys: tuple[Any, ...]
) -> None:
    path = tmp_path / "a.h5ad"
    toy = toys[0]
    image = toy.slide.region(0, 0, 256, "white")
    spatial = {"V1": {"images": {"hires": image}, "scalefactors": {"tissue_hires_scalef": 1.0}}}
    counts = np.full(toy.counts.shape, 3, np.float32)
    data = AnnData(counts, obs=toy.counts.obs, var=toy.counts.var, uns={"spatial": spatial}, obsm={"spatial": toy.xy})
    data.write_h5ad(path)
    told = refused(tmp_path / "out", source="h5ad", root=str(path), split="section", test=[])
    assert "no gene varies between spots" in told


@pytest.mark.parametrize("layout", [on_tissue.tsne, on_tissue.umap])
def test_spots_that_are_all_alike_can_be_laid_out(layout: Any) -> None:
    assert np.isfinite(layout(np.zeros((40, 5)), 0)).all()
