"""Plotting keeps scanpy's manners: Axes in and out, a file where one is named, nothing opened unasked, one sentence else."""

import inspect
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import anndata
import matplotlib
import numpy as np
import pandas as pd
import pytest

import bleep
from bleep.data.prediction import Prediction
from bleep.errors import BleepError, ConfigError, DataError, MismatchError
from bleep.records import Table
from bleep.workflows.experiment import Experiment

matplotlib.use("agg")
from matplotlib import pyplot as plt
from matplotlib.axes import Axes

pytest.importorskip("matplotlib", reason="plotting needs the extra `plots`")


@pytest.fixture(scope="module")
def experiment(trained: dict[str, Path]) -> Experiment:
    return bleep.load(trained["contrastive"])


@pytest.fixture(scope="module")
def prediction(experiment: Experiment) -> Prediction:
    return experiment.predict(experiment.tiles(experiment.split.test[:1]))


@pytest.fixture(scope="module")
def table(experiment: Experiment) -> Table:
    return experiment.evaluate()


@pytest.fixture(autouse=True)
def closed(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """Count what is shown, and close what was drawn."""
    shown: list[int] = []
    monkeypatch.setattr(plt, "show", lambda *_, **__: shown.append(1))
    yield shown
    plt.close("all")


def some(count: int) -> list[Axes]:
    return np.atleast_1d(plt.figure().subplots(1, count)).tolist()


def test_the_import_of_bleep_brings_neither_matplotlib_nor_torch() -> None:
    code = "import sys, bleep; 'pl' in dir(bleep); print([n for n in ('matplotlib', 'torch') if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    code = "import sys, bleep; bleep.pl.spatial; print('matplotlib' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_axes_that_are_given_are_drawn_on_and_come_back(
    experiment: Experiment, prediction: Prediction, table: Table, closed: list[int]
) -> None:
    (one,) = some(1)
    assert bleep.pl.spatial(prediction, prediction.genes[0], ax=one) is one
    drawn = one.collections[0].get_array()
    np.testing.assert_array_equal(np.asarray(drawn), prediction.expression[:, 0])
    two = some(2)
    assert bleep.pl.spatial(prediction, prediction.genes[:2], ax=two, layer="spread") == two
    np.testing.assert_array_equal(np.asarray(two[1].collections[0].get_array()), prediction.layers["spread"][:, 1])
    (one,) = some(1)
    assert bleep.pl.genes(table, ax=one) is one
    scores = pd.concat([card.genes["pearson"] for card in table.cards if card.predictor == "ridge"], axis=1).mean(axis=1)
    line = next(line for line in one.lines if str(line.get_label()).startswith("ridge (mean"))
    np.testing.assert_allclose(line.get_ydata(), np.sort(scores.dropna())[::-1])
    (one,) = some(1)
    assert bleep.pl.calibration(experiment, ax=one) is one
    axes = some(2)
    assert bleep.pl.training(experiment, ax=axes) == axes
    assert [len(place.lines[0].get_xdata()) for place in axes] == [3, 3]
    axes = some(4)
    tiles = experiment.tiles(experiment.split.test[:1])
    assert bleep.pl.neighbors(experiment, tiles, tiles.ids[3], n=3, ax=axes) == axes
    np.testing.assert_array_equal(np.asarray(axes[0].images[0].get_array()), np.moveaxis(np.array(tiles.read(3))[0], 0, -1))
    assert not closed


def test_new_axes_are_made_and_returned_where_none_are_given(prediction: Prediction, closed: list[int]) -> None:
    alone = bleep.pl.spatial(prediction, show=False)
    assert isinstance(alone, Axes)
    assert alone.get_title() == "toy3"
    several = bleep.pl.spatial(prediction, [*prediction.genes[:3]], show=False)
    assert isinstance(several, list)
    assert [axes.get_title() for axes in several] == [*prediction.genes[:3]]
    assert len({axes.figure for axes in several}) == 1
    assert not closed
    bleep.pl.spatial(prediction, prediction.genes[0])
    assert not closed, "agg cannot show"
    bleep.pl.spatial(prediction, prediction.genes[0], show=True)
    assert closed == [1]


@pytest.mark.parametrize("suffix", [".png", ".svg", ".pdf"])
def test_a_file_is_written_and_only_one_of_ours_replaced(
    suffix: str, prediction: Prediction, tmp_path: Path, closed: list[int]
) -> None:
    path = tmp_path / f"map{suffix}"
    bleep.pl.spatial(prediction, prediction.genes[0], save=path)
    first = path.read_bytes()
    assert len(first) > 5000
    assert not closed
    assert not plt.get_fignums()
    bleep.pl.spatial(prediction, prediction.genes[0], save=path)
    assert path.read_bytes() == first
    mine = tmp_path / f"mine{suffix}"
    mine.write_bytes(b"\x89PNG of somebody else")
    with pytest.raises(DataError, match="bleep did not write it"):
        bleep.pl.spatial(prediction, prediction.genes[0], save=mine)
    assert mine.read_bytes() == b"\x89PNG of somebody else"


def test_an_anndata_from_a_file_and_one_of_others_are_drawn_too(prediction: Prediction, tmp_path: Path) -> None:
    prediction.to_anndata().write_h5ad(tmp_path / "p.h5ad")
    again = anndata.read_h5ad(tmp_path / "p.h5ad")
    axes = bleep.pl.spatial(again, prediction.genes[1], show=False)
    assert isinstance(axes, Axes)
    np.testing.assert_array_equal(np.asarray(axes.collections[0].get_array()), prediction.expression[:, 1])
    other = anndata.AnnData(np.eye(4, dtype=np.float32), obsm={"spatial": np.eye(4)[:, :2] * 100})
    other.obs["depth"] = [1, 2, 3, 4]
    axes = bleep.pl.spatial(other, "depth", vmin=0, vmax=8, show=False)
    assert isinstance(axes, Axes)
    assert axes.collections[0].get_clim() == (0, 8)


def test_spots_lie_on_the_picture_that_is_theirs_whatever_form_it_has() -> None:
    pictures = {name: np.full((40, 60, 3), shade, np.uint8) for name, shade in (("A", 60), ("B", 120))}
    xy = np.array([[6.0, 30.0], [50.0, 30.0], [20.0, 8.0], [np.nan, 5.0]])

    def made(**held: object) -> anndata.AnnData:
        library = {"scalefactors": {"tissue_hires_scalef": 1.0, "spot_diameter_fullres": 4.0}}
        return anndata.AnnData(
            np.arange(4, dtype=np.float32)[:, None],
            obs=pd.DataFrame({"library_id": [*"ABBB"]}, index=[*"abcd"]),
            obsm={"spatial": held.pop("xy", xy)},
            uns={"spatial": {name: library | {"images": {"hires": picture}} for name, picture in (pictures | held).items()}},
        )

    def drawn(data: anndata.AnnData, section: str | None = "B") -> tuple[np.ndarray, np.ndarray]:
        axes = bleep.pl.spatial(data, "0", section=section, alpha_img=1.0, show=False)
        assert isinstance(axes, Axes)
        return np.asarray(axes.images[0].get_array()), np.asarray(axes.collections[0].get_offsets())

    with pytest.raises(ConfigError, match="of 2 sections; name the one to draw, such as section='A'"):
        drawn(made(), None)
    whole = made()
    for data, section in ((whole, "B"), (whole[whole.obs["library_id"] == "B"], None)):
        tissue, places = drawn(data, section)
        assert (tissue == 120).all()
        np.testing.assert_array_equal(places, xy[1:3])
    frame = pd.DataFrame({"y": xy[:, 1], "x": xy[:, 0]}, index=[*"abcd"])
    np.testing.assert_array_equal(drawn(made(xy=frame))[1], xy[1:3])
    for form in (pictures["B"][..., 0], pictures["B"].astype(np.uint16), pictures["B"] / 255, pictures["B"].astype(np.float32)):
        assert (drawn(made(B=form))[0] == 120).all()
    flat = made()
    flat.uns["spatial"] = dict(flat.uns["spatial"]["B"])
    flat.uns["spatial"]["images"] = {"fullres": pictures["B"]}
    del flat.obs["library_id"]
    assert (drawn(flat, None)[0] == 120).all()
    unnamed = made()
    del unnamed.obs["library_id"]
    bare = made()
    bare.uns["spatial"]["B"]["scalefactors"] = {}
    with pytest.warns(UserWarning, match="not unique"):
        twice = anndata.AnnData(np.ones((4, 2), np.float32), var=pd.DataFrame(index=["0", "0"]), obsm={"spatial": xy})
    for data, kind, words in (
        (unnamed, DataError, "holds pictures of A, B, and no column of obs .* add obs.'library_id'. with these names"),
        (whole[:0], DataError, "nothing to draw: found 0 tiles"),
        (bare, DataError, "tissue_hires_scalef in uns.* is None; expected the scale of the picture"),
        (twice, ConfigError, r"gene '0' stands there 2 times; call var_names_make_unique\(\)"),
        (anndata.AnnData(var=whole.var, obs=whole.obs[[]], obsm=dict(whole.obsm)), ConfigError, "has no X, so gene '0' has no"),
    ):
        with pytest.raises(kind, match=words):
            drawn(data, None if data is not bare else "B")


@pytest.mark.parametrize(
    ("how", "kind", "words"),
    [
        ({"color": "NOGENE"}, ConfigError, r"'NOGENE' is neither one of the 12 genes, such as \S+, .* nor a column of obs"),
        ({"color": "patient"}, ConfigError, "column 'patient' of obs holds words"),
        ({"color": "GENE", "layer": "counts"}, ConfigError, "layer 'counts' is not in the prediction, which has spread"),
        ({"section": "toy9"}, ConfigError, "section 'toy9' is not among the 1 of the prediction: toy3"),
        ({"save": "map.docx"}, ConfigError, r"expected a name ending in \.png, \.svg or \.pdf"),
        ({"color": ["GENE", "GENE"], "ax": 1}, ConfigError, "found 1 Axes for 2 things to draw"),
    ],
)
def test_what_cannot_be_drawn_is_one_sentence(
    how: dict[str, object], kind: type[BleepError], words: str, prediction: Prediction
) -> None:
    gene = prediction.genes[0]
    how = {key: gene if value == "GENE" else [gene] * 2 if value == ["GENE", "GENE"] else value for key, value in how.items()}
    if "ax" in how:
        how["ax"] = some(1)
    with pytest.raises(kind, match=words) as said:
        bleep.pl.spatial(prediction, **how)  # type: ignore[arg-type]
    assert "\n" not in str(said.value)


def test_other_things_that_cannot_be_drawn_are_a_sentence_too(
    experiment: Experiment, prediction: Prediction, table: Table, tmp_path: Path, trained: dict[str, Path]
) -> None:
    two = Prediction.joined([prediction, experiment.predict(experiment.tiles(experiment.split.test[1:2]))])
    with pytest.raises(ConfigError, match="of 2 sections; name the one to draw, such as section='toy3'"):
        bleep.pl.spatial(two, prediction.genes[0])
    assert isinstance(bleep.pl.spatial(two, prediction.genes[0], section="toy4", show=False), Axes)
    with pytest.raises(DataError, match="there are no places to draw at"):
        bleep.pl.spatial(anndata.AnnData(np.ones((2, 2), np.float32)))
    with pytest.raises(ConfigError, match="'magic' is not among the predictors scored: retrieval"):
        bleep.pl.genes(table, "magic")
    with pytest.raises(DataError, match="no score to draw"):
        bleep.pl.genes(pd.DataFrame({"gene": ["A"]}))
    assert isinstance(bleep.pl.genes(pd.DataFrame({0: [0.1, 0.2], 1: [0.3, 0.4]}), show=False), Axes)
    with pytest.raises(DataError, match="the column 'a' stands twice"):
        bleep.pl.genes(pd.DataFrame([[0.1, 0.2]], columns=["a", "a"]))
    with pytest.raises(ConfigError, match="level is 2; expected a share"):
        bleep.pl.calibration(experiment, level=2.0)
    with pytest.raises(ConfigError, match="n is -1; expected 1 neighbour or more"):
        bleep.pl.neighbors(experiment, n=-1)
    with pytest.raises(MismatchError, match="measured values: found none, expected"):
        bleep.pl.calibration(prediction)
    with pytest.raises(MismatchError, match="does not say how sure it is"):
        bleep.pl.calibration(bleep.load(trained["regression"]))
    with pytest.raises(MismatchError, match="predicts without neighbours"):
        bleep.pl.neighbors(bleep.load(trained["regression"]))
    with pytest.raises(ConfigError, match="give them too"):
        bleep.pl.neighbors(experiment)
    with pytest.raises(ConfigError, match="no tile 'a/b' to explain"):
        bleep.pl.neighbors(experiment, experiment.tiles(experiment.split.test[:1]), "a/b")
    with pytest.raises(DataError, match=r"has no log\.jsonl; expected the folder of a run"):
        bleep.pl.training(tmp_path)
    with pytest.raises(ConfigError, match="'val_score' is not in the log"):
        bleep.pl.training(experiment, "val_score")


def test_the_error_of_a_prediction_is_drawn_against_what_was_measured(prediction: Prediction, experiment: Experiment) -> None:
    measured = experiment.run.panel.values(experiment.split.test[0])
    axes = bleep.pl.calibration(prediction, measured, show=False)
    assert isinstance(axes, Axes)
    assert len(axes.lines[0].get_xdata()) == 10
    half = np.full_like(measured, 0.5)
    sure = Prediction(
        prediction.expression, prediction.spots, prediction.genes, prediction.scale, "combined",
        lower=measured - half, upper=measured + half,
    )  # fmt: skip
    axes = bleep.pl.calibration(sure, measured, level=0.8, show=False)
    assert isinstance(axes, list)
    assert "asked: 80%" in [text.get_text() for text in axes[1].get_legend().get_texts()]
    with pytest.raises(MismatchError, match=r"expected 5. x 12, a row a tile"):
        bleep.pl.calibration(prediction, measured[:, :3])
    with pytest.raises(MismatchError, match=r"found a DataFrame, expected 5. x 12"):
        inspect.unwrap(bleep.pl.calibration)(prediction, pd.DataFrame(measured))
