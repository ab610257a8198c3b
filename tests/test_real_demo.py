"""The demo on real tissue: with run and tissue given nothing is fetched; without a run one is trained and packed."""

import json
import socket
import zipfile
from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pytest

import bleep
from bleep.cli import app
from bleep.demo import run_real_demo
from bleep.errors import DataError
from bleep.workflows.pack import pack

SMALL: dict[str, Any] = {
    "data": {"mpp": 1.0, "species": "unknown"},
    "tiles": {"pixels": 32, "microns": [64.0]},
    "image": {"trunk": "test_resnet", "layer": None, "weights": "random", "precision": "float32"},
    "head": {"hidden": 0, "dim": 16, "dropout": 0.0},
    "optim": {"epochs": 3, "batch": 32, "gene_dropout": 0.0},
    "query": {"k": 10},
}


@pytest.fixture
def nothing_is_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("the network was asked")

    monkeypatch.setattr(socket, "create_connection", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)


@pytest.mark.usefixtures("nothing_is_fetched")
def test_a_packed_run_is_shown_on_tissue_it_never_saw(
    trained: dict[str, Path], files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    packed, out = tmp_path / "sent.bleep.zip", tmp_path / "demo"
    pack(trained["contrastive"], packed)
    words = ["demo", "--real", "--run", str(packed), "--data", str(files / "st2k"), "--out", str(out)]
    assert app.main(words) == 0
    said = capsys.readouterr().out
    assert "given, trained on toy1, toy2" in said
    assert said.splitlines()[-1].startswith(f"next: bleep query --run {out / 'run'} --images FOLDER")
    prediction = anndata.read_h5ad(out / "toy3.h5ad")
    here = bleep.load(trained["contrastive"])
    np.testing.assert_allclose(prediction.X, here.predict(here.tiles(here.split.test[:1])).expression, atol=1e-4)
    scores = json.loads((out / "evaluation.json").read_text())
    assert {"retrieval", "ridge", "image-kNN", "mean"} <= set(scores["predictors"])
    assert scores["leak"]["status"] == "none"
    assert (out / "page.html").stat().st_size > 10_000
    assert not list(out.glob("*.zip"))
    assert app.main(words) == 0, "a second demo replaces the first"


@pytest.mark.usefixtures("nothing_is_fetched")
def test_without_a_run_one_is_trained_calibrated_scored_and_packed(files: Path, tmp_path: Path) -> None:
    made = run_real_demo(tmp_path / "demo", None, files / "st2k", SMALL)
    assert made.packed is not None
    with zipfile.ZipFile(made.packed) as held:
        names = set(held.namelist())
        card = held.read("README.md").decode()
    assert {"model.safetensors", "calibration/calibration.json", "reference/manifest.json", "README.md"} <= names
    assert "| combined |" in card
    assert "licence of the tissue: unknown" in card, "toy sections are not of the public set, whatever the recipe is called"
    assert made.held_out not in made.trained
    again = run_real_demo(tmp_path / "again", str(made.packed), files / "st2k")
    assert again.table.rows.loc["combined", "pcc"] == pytest.approx(made.table.rows.loc["combined", "pcc"], abs=1e-4)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/page.html").write_text("mine")
    with pytest.raises(DataError, match="bleep did not write it"):
        run_real_demo(tmp_path / "mine", str(made.packed), files / "st2k")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--run", "a.zip"], "--run: goes with --real"),
        (["--real", "--run", "a.zip", "--epochs", "3"], "have no meaning"),
        (["--real", "--data", "nowhere"], "nowhere: no such folder; expected the tissue that `bleep data download mob`"),
        (["--real", "--run", "a.zip", "--data", "."], "a.zip: no such file"),
    ],
)
def test_a_demo_that_cannot_be_given_is_one_sentence(
    words: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert app.main(["demo", *words]) == 2
    assert said in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
@pytest.mark.data
def test_the_released_recipe_beats_its_floors_on_the_other_mouse(shared: Path, tmp_path: Path) -> None:
    weights = str(shared / "weights/tf_efficientnet_lite0.safetensors")
    # Smaller tiles and fewer genes than the recipe has, for the time they take.
    smaller = {"tiles": {"pixels": 96}, "panel": {"choice": "variance", "size": 300}}
    settings = {"image": {"weights": weights}, **smaller}
    made = run_real_demo(tmp_path / "demo", None, shared / "data/mob_st2k", settings)
    assert made.table.leak.status == "none"
    pcc = made.table.rows["pcc"]
    assert pcc["combined"] > 0.27
    assert pcc["combined"] > pcc[["ridge", "image-kNN", "ridge on colour", "mean"]].max() + 0.01
    assert made.packed is not None
    assert made.packed.stat().st_size < 25e6
    assert "licence of the tissue: MIT" in (zipfile.ZipFile(made.packed).read("README.md").decode())
