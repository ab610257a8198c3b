"""`bleep init`: what a folder holds, and a recipe that trains."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from anndata import AnnData

from bleep.cli import app
from bleep.config import Config
from bleep.data.readers.forms import form_of
from bleep.data.slides import MosaicSlide
from bleep.data.toy import toy_section
from bleep.errors import DataError
from bleep.workflows.init import _panel, _species, _tiles, as_yaml, plan

QUICK = ["--image.trunk", "test_resnet", "--image.weights", "random", "--image.layer", "none", "--tiles.pixels", "32"]


@pytest.mark.parametrize("form", ["folder", "st2k", "her2st"])
def test_each_form_of_toy_tissue_is_known_and_gives_a_recipe_that_is_read_back(
    form: str, files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = files / form / "train.csv" if form == "folder" else files / form
    code = app.main(["init", str(place), "--data.species", "toy", "--data.mpp", "1", "--tiles.microns", "32"])
    said = capsys.readouterr().out
    assert code in (0, 1)  # the toy grid is finer than the array whose form it has, which the check rightly says
    config = Config.load("own.yaml")
    assert (config.data.source, config.data.species, config.data.mpp) == (form, "toy", 1.0)
    assert (config.panel.choice, config.panel.normalise) == ("all", "log1p")
    assert said.splitlines()[-1].startswith("next: bleep ")
    text = (tmp_path / "own.yaml").read_text()
    assert text.count("\n  # ") == sum(len(part) for part in yaml.safe_load(text).values() if isinstance(part, dict))


def test_the_recipe_trains_without_an_edit_by_the_line_that_is_printed(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert app.main(["init", str(files / "folder" / "train.csv"), *QUICK, "--data.mpp", "1", "--optim.epochs", "1"]) == 0
    line = capsys.readouterr().out.splitlines()[-1]
    assert line == "next: bleep train --config own.yaml"
    assert app.main(line.split()[2:]) == 0
    assert "runs/own: trained on" in capsys.readouterr().out


def visium(folder: Path, names: list[str], counts: np.ndarray, samples: tuple[str, ...]) -> Path:
    for sample in samples:
        data = AnnData(counts.astype(np.float32))
        data.var_names, data.obs_names = names, [f"s{i}" for i in range(len(counts))]
        data.obsm["spatial"] = np.array([[10.0 + 20 * (i % 6), 10.0 + 20 * (i // 6)] for i in range(len(counts))])
        scales = {"tissue_hires_scalef": 1.0, "spot_diameter_fullres": 10.0, "microns_per_pixel": 5.0}
        image = np.random.default_rng(samples.index(sample)).integers(0, 255, (140, 140, 3)).astype(np.uint8)
        data.uns["spatial"] = {sample: {"images": {"hires": image}, "scalefactors": scales}}
        folder.mkdir(exist_ok=True)
        data.write_h5ad(folder / f"{sample}.h5ad")
    return folder


@pytest.mark.parametrize(
    ("names", "species"),
    [
        ([f"ENSG{i:011d}" for i in range(20)], "human"),
        ([f"ENSMUSG{i:011d}" for i in range(20)], "mouse"),
        (["ACTB", "GAPDH", *(f"ABC{i}" for i in range(18))], "human"),
        (["Actb", "Gapdh", *(f"Abc{i}" for i in range(18))], "mouse"),
        ([f"g{i}" for i in range(20)], "unknown"),
    ],
)
def test_the_species_is_read_from_the_names_of_the_genes(names: list[str], species: str, tmp_path: Path) -> None:
    counts = np.random.default_rng(0).poisson(3, (36, 20))
    made = plan(visium(tmp_path / "in", names, counts, ("one",)), {})
    assert made.config().data.species == species
    assert next(guess for guess in made.guesses if guess.what == "species").evidence


@pytest.mark.parametrize(("first", "species"), [("Actb", "mouse"), ("ACTB", "human"), ("g0", "human")])
def test_a_form_of_human_tissue_may_hold_that_of_a_mouse(first: str, species: str) -> None:
    toy = toy_section("C2", "C", 1, side=256, pitch=32)
    others = {"Actb": "Abc{}", "ACTB": "ABC{}", "g0": "g{}"}[first]
    toy.counts.var_names = [first, *(others.format(i) for i in range(1, toy.counts.n_vars))]
    assert _species([replace(toy, species="human")], {})[0] == {"data": {"species": species}}
    assert _species([replace(toy, species="human")], {"species": "rat"})[0] == {"data": {"species": "rat"}}


def test_values_that_are_no_counts_are_not_normalised_again_and_one_section_is_split_by_blocks(tmp_path: Path) -> None:
    values = np.random.default_rng(0).normal(1, 0.2, (36, 20))
    config = plan(visium(tmp_path / "in", [f"g{i}" for i in range(20)], values, ("one",)), {}).config()
    assert config.panel.normalise == "none"
    assert (config.data.split, config.data.folds) == ("block", 4)


def test_counts_beside_logarithms_are_refused_whichever_comes_first(tmp_path: Path) -> None:
    counts = np.random.default_rng(0).poisson(3, (36, 20))
    genes = [f"g{i}" for i in range(20)]
    for number, names in enumerate((("a", "b"), ("b", "a"))):
        folder = visium(tmp_path / str(number), genes, counts, names[:1])
        visium(folder, genes, np.log1p(counts), names[1:])
        with pytest.raises(DataError, match="leave it out by"):
            plan(folder, {})


def test_what_is_written_of_odd_values_names_and_scales_can_be_trained_on(
    copies: Callable[[str], Path], tmp_path: Path, toys: tuple[Any, ...]
) -> None:
    counts = np.random.default_rng(0).poisson(30, (36, 20)).astype(np.float64)
    genes = [f"g{i}" for i in range(20)]
    table = pd.read_csv(copies("folder") / "train.csv")
    values = table.columns[~table.columns.isin(["ID", "path", "section", "patient"])]
    grouped = table.groupby("section")[list(values)]
    table[values] = (table[values] - grouped.transform("mean")) / grouped.transform("std")
    table.to_csv(tmp_path / "folder" / "train.csv", index=False)
    with pytest.raises(DataError, match="section toy1: holds z-scores"):
        plan(tmp_path / "folder" / "train.csv", {})
    mixed = visium(tmp_path / "mixed", genes, counts, ("a",))
    visium(mixed, genes, counts / counts.sum(axis=1, keepdims=True) * 1e6, ("b",))
    made = plan(mixed, {})
    assert made.config().panel.normalise == "log1p"
    assert "whole numbers but those of b" in as_yaml(made)

    symbols, ids = toys[0].counts.copy(), toys[1].counts.copy()
    symbols.var["gene_id"] = [f"ENSG{i:011d}" for i in range(symbols.n_vars)]
    ids.var_names = [*symbols.var_names[:3], *symbols.var["gene_id"].iloc[3:]]
    named = (replace(toys[0], counts=symbols), replace(toys[1], counts=ids))
    assert _panel(named)[1].evidence == "there are 60"

    for mpp in (0.0123, 0.0351):
        tiles = replace(
            toys[0], slide=MosaicSlide((tmp_path / "a.png",), 5), counts=symbols[:1].copy(), xy=np.array([[2.5, 2.5]])
        )
        (shown,) = _tiles([replace(tiles, mpp=mpp)])["tiles"]["microns"]
        assert shown == pytest.approx(5 * mpp, rel=1e-4)


def test_patients_guessed_from_names_are_said_with_the_evidence_and_not_used(tmp_path: Path) -> None:
    counts = np.random.default_rng(0).poisson(3, (36, 20))
    folder = visium(tmp_path / "in", [f"g{i}" for i in range(20)], counts, ("anna_1", "anna_2", "bert_1"))
    made = plan(folder, {})
    assert made.suggested == {"anna_1": "anna", "anna_2": "anna", "bert_1": "bert"}
    assert made.config().data.patients == {}
    assert "not used" in next(guess for guess in made.guesses if guess.what == "patients").evidence
    assert app.main(["init", str(folder), "--tiles.microns", "50"]) in (0, 1)
    assert "#   patients: {anna_1: anna, anna_2: anna, bert_1: bert}" in Path("own.yaml").read_text()


@pytest.mark.parametrize(
    ("names", "patients"),
    [
        (("p1_a", "p1_b", "p2_a"), ["p1", "p1", "p2"]),
        (("GSM11_P1_a", "GSM12_P1_b", "GSM13_P2_a"), ["P1", "P1", "P2"]),
        (("a", "b", "c"), None),
    ],
)
def test_letters_behind_a_patient_and_numbers_of_geo_are_seen(
    names: tuple[str, ...], patients: list[str] | None, tmp_path: Path
) -> None:
    counts = np.random.default_rng(0).poisson(3, (36, 20))
    made = plan(visium(tmp_path / "in", [f"g{i}" for i in range(20)], counts, names), {})
    assert made.suggested == (dict(zip(names, patients, strict=True)) if patients else {})


def test_another_form_and_a_section_without_counts_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    counts = np.random.default_rng(0).poisson(3, (36, 20))
    folder = visium(tmp_path / "in", [f"g{i}" for i in range(20)], counts, ("one", "two", "bare"))
    visium(folder, [], counts[:, :0], ("bare",))
    (folder / "more").mkdir()
    (folder / "more" / "alignment_table_one.tsv").write_text("x\ty\n")
    made = plan(folder, {})
    told = {guess.what: f"{guess.found} {guess.evidence}" for guess in made.guesses}
    assert "more/alignment_table_one.tsv (st2k)" in told["form"]
    assert told["left out"].startswith("bare ")
    assert [section.name for section in made.sections] == ["one", "two"]
    assert made.config().data.sections == ("one", "two")
    whole = {"data": {"source": "h5ad", "root": str(folder)}, "tiles": {"microns": [20]}}
    (tmp_path / "whole.yaml").write_text(json.dumps(whole))
    assert app.main(["data", "check", "--config", str(tmp_path / "whole.yaml")]) == 1
    assert "name those in data.sections" in " ".join(capsys.readouterr().out.split())


def test_what_cannot_be_trained_on_is_said_in_one_sentence(fails: Any, files: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    fails(["init", tmp_path / "empty"], "no known form of tissue found")
    fails(["init", tmp_path / "gone"], "no such file or folder")
    shutil.make_archive(str(tmp_path / "packed" / "tissue"), "zip", files / "st2k")
    for place in (tmp_path / "packed", tmp_path / "packed" / "tissue.zip"):
        fails(["init", place], "tissue.zip: is an archive", "unpack it")
    fails(["init", files / "folder" / "train"], "holds pictures but no measured values", "bleep query")
    (tmp_path / "own.yaml").write_text("seed: 1\n")
    fails(["init", files / "st2k"], "own.yaml: is there already", "--overwrite")


def test_a_form_is_known_by_its_files(copies: Callable[[str], Path], tmp_path: Path) -> None:
    assert form_of(copies("st2k"))[1].startswith("toy1/alignment_table_toy1.tsv")
    (tmp_path / "x.svs").write_bytes(b"")
    with pytest.raises(DataError, match="holds pictures"):
        form_of(tmp_path / "x.svs")
