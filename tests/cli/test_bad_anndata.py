"""Malformed AnnData, HEST and SpatialData end in one clear sentence and exit code 2, with nothing written."""

import json
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anndata
import h5py
import numpy as np
import pandas as pd
import pytest
import tifffile
from anndata import AnnData
from scipy import sparse

from bleep.cli import app
from bleep.cli import training as train_command

NAMES = ("toy1", "toy2")


def annotated(section: Any) -> AnnData:
    """Return a section by scanpy's convention; its picture is the hires one of a picture twice as large."""
    picture = section.slide.region(0, 0, 256, "white")
    return AnnData(
        X=sparse.csr_matrix(section.counts.X),
        obs=pd.DataFrame(index=section.counts.obs_names),
        var=pd.DataFrame(index=section.genes),
        obsm={"spatial": section.xy * 2},
        uns={
            "spatial": {
                section.name: {
                    "images": {"hires": picture},
                    "scalefactors": {"tissue_hires_scalef": 0.5, "spot_diameter_fullres": 40.0},
                }
            }
        },
    )


def write_hest(section: Any, root: Path) -> None:
    for folder in ("st", "wsis", "metadata"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    data = annotated(section)
    data.obsm["spatial"] = section.xy
    data.write_h5ad(root / "st" / f"{section.name}.h5ad")
    picture = section.slide.region(0, 0, 256, "white")
    with tifffile.TiffWriter(root / "wsis" / f"{section.name}.tif") as file:
        for level in (1, 2):
            file.write(picture[::level, ::level], tile=(64, 64), photometric="rgb", compression="deflate")
    facts = {"patient": section.name, "species": "Homo sapiens", "pixel_size_um_estimated": 1.0}
    (root / "metadata" / f"{section.name}.json").write_text(json.dumps(facts))


def write_spatialdata(section: Any, path: Path, **parts: Any) -> None:
    """Write a store of an image "he", the shapes "spots" and the table "table", or of what is given."""
    with warnings.catch_warnings():
        # The library warns while it is loaded, and while it writes, of its own future.
        warnings.simplefilter("ignore")
        import spatialdata
        from spatialdata.models import Image2DModel, ShapesModel, TableModel

        picture = section.slide.region(0, 0, 256, "white").transpose(2, 0, 1)
        obs = pd.DataFrame(
            {"region": pd.Categorical(["spots"] * len(section)), "instance_id": np.arange(len(section))},
            index=section.counts.obs_names,
        )
        data = AnnData(sparse.csr_matrix(section.counts.X), obs, section.counts.var[[]])
        given: dict[str, Any] = {
            "images": {"he": Image2DModel.parse(picture, dims=("c", "y", "x"), scale_factors=[2], chunks=64)},
            "shapes": {"spots": ShapesModel.parse(section.xy, geometry=0, radius=10.0)},
            "tables": {"table": TableModel.parse(data, region="spots", region_key="region", instance_key="instance_id")},
        }
        spatialdata.SpatialData(**{**given, **parts}).write(path, overwrite=path.exists())


@pytest.fixture(scope="session")
def forms(toys: tuple[Any, ...], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two sections in each form, whole; read them, do not change them."""
    root = tmp_path_factory.mktemp("anndata")
    for section in toys[:2]:
        (root / "h5ad").mkdir(exist_ok=True)
        annotated(section).write_h5ad(root / "h5ad" / f"{section.name}.h5ad")
        write_hest(section, root / "hest")
        write_spatialdata(section, root / "spatialdata" / f"{section.name}.zarr")
    return root


@pytest.fixture
def form(forms: Path, tmp_path: Path) -> Callable[[str], Path]:
    """Copy one form to where a test may damage it."""

    def copy(name: str) -> Path:
        shutil.copytree(forms / name, tmp_path / name)
        return tmp_path / name

    return copy


def of(source: str, root: Path, **over: Any) -> dict[str, Any]:
    return {"data": {"source": source, "root": str(root), "split": "section", "test": ["toy2"], **over}}


@pytest.mark.slow
@pytest.mark.parametrize("source", ["h5ad", "hest", "spatialdata"])
def test_the_same_files_undamaged_are_trained_on_and_queried(source: str, form: Any, train: Any, tmp_path: Path) -> None:
    root = form(source)
    assert train_command.command([str(word) for word in train(of(source, root))[1:]]) == 0
    run = tmp_path / "out"
    assert app.main(["index", "build", "--run", str(run)]) == 0
    for number, place in enumerate((root, *(root.glob("toy2.*") if source != "hest" else ()))):
        out = tmp_path / f"predictions{number}.csv"
        assert app.main(["query", "--images", str(place), "--run", str(run), "--out", str(out)]) == 0
        assert {spot.split("/")[0] for spot in pd.read_csv(out, index_col=0).index} == set(NAMES[number:])


def _changed(change: Callable[[AnnData], Any]) -> Callable[[Path], None]:
    def damage(path: Path) -> None:
        data = anndata.read_h5ad(path)
        kept = change(data)
        (kept if isinstance(kept, AnnData) else data).write_h5ad(path)

    return damage


def _library(data: AnnData) -> Any:
    return data.uns["spatial"]["toy1"]


def _factor(value: Any) -> Callable[[Path], None]:
    return _changed(lambda data: _library(data)["scalefactors"].update(tissue_hires_scalef=value))


def _spatial(change: Callable[[np.ndarray], np.ndarray]) -> Callable[[Path], None]:
    return _changed(lambda data: data.obsm.update(spatial=change(np.array(data.obsm["spatial"], dtype=np.float64))))


def _counts(change: Callable[[np.ndarray], np.ndarray]) -> Callable[[Path], None]:
    def damage(data: AnnData) -> None:
        data.X = change(data.X.toarray())

    return _changed(damage)


def _with(values: np.ndarray, at: tuple[int, int], value: float) -> np.ndarray:
    values[at] = value
    return values


def _swapped(data: AnnData) -> None:
    picture = _library(data)["images"]["hires"]
    _library(data)["images"]["hires"] = np.concatenate([picture, picture], axis=1)
    data.obsm["spatial"] = (data.obsm["spatial"] + [512, 0])[:, ::-1]


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _of_another_kind(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file["numbers"] = np.arange(5)


def _two_libraries(data: AnnData) -> None:
    data.uns["spatial"]["other"] = data.uns["spatial"]["toy1"]


def _text_for_counts(path: Path) -> None:
    with h5py.File(path, "r+") as file:
        count = len(file["X/data"])
        del file["X/data"]
        file["X/data"] = [b"many"] * count
        file["X/data"].attrs.update({"encoding-type": "string-array", "encoding-version": "0.2.0"})


H5AD: dict[str, tuple[Callable[[Path], Any], tuple[str, ...]]] = {
    "cut short": (_cut, ("cannot be read as an AnnData", "is it whole?")),
    "not HDF5": (lambda path: path.write_text("spots"), ("cannot be read as an AnnData",)),
    "empty": (lambda path: path.write_bytes(b""), ("cannot be read as an AnnData",)),
    "HDF5 of another kind": (_of_another_kind, ("toy1.h5ad",)),
    "text for counts": (_text_for_counts, ("toy1.h5ad: cannot be read as an AnnData",)),
    "no positions": (_changed(lambda data: data.obsm.clear()), ("has no obsm['spatial']; found nothing",)),
    "a missing position": (_spatial(lambda xy: _with(xy, (3, 0), np.nan)), ("position of spot", "is not a number")),
    "three columns": (_spatial(lambda xy: np.c_[xy, xy[:, 0]]), ("has the shape", "expected two columns")),
    "one column": (_spatial(lambda xy: xy[:, :1]), ("expected two columns",)),
    "no uns": (_changed(lambda data: data.uns.clear()), ("holds no picture of section toy1", "data.image")),
    "no pictures": (_changed(lambda data: _library(data).pop("images")), ("holds no picture of section toy1", "data.image")),
    "a picture beyond bytes": (
        _changed(lambda data: _library(data)["images"].update(hires=np.full((256, 256, 3), 900.0))),
        ("holds values beyond 0 to 255",),
    ),
    "no scale factors": (_changed(lambda data: _library(data).pop("scalefactors")), ("tissue_hires_scalef", "is None")),
    "scale factor zero": (_factor(0.0), ("tissue_hires_scalef", "is 0.0", "a positive number")),
    "scale factor negative": (_factor(-0.5), ("tissue_hires_scalef", "is -0.5")),
    "scale factor not a number": (_factor("half"), ("tissue_hires_scalef", "is half")),
    "scale factor infinite": (_factor(np.inf), ("tissue_hires_scalef", "is inf")),
    "scale factor of another picture": (_factor(2.0), ("lie outside the slide of 256 x 256", "another resolution")),
    "x and y swapped": (_changed(_swapped), ("lie outside the slide of 512 x 256", "are x and y swapped")),
    "no spots": (_changed(lambda data: data[:0].copy()), ("toy1.h5ad: holds no spots",)),
    "no counts": (_changed(lambda data: setattr(data, "X", None)), ("has neither X",)),
    "a negative count": (_counts(lambda x: _with(x, (0, 0), -2)), ("toy1", "negative values (least -2)")),
    "a missing count": (_counts(lambda x: _with(x, (0, 0), np.nan)), ("toy1", "not numbers")),
    "a spot twice": (
        _changed(lambda data: setattr(data, "obs_names", [data.obs_names[1], *data.obs_names[1:]])),
        ("stands more than once",),
    ),
    "nothing under tissue": (_changed(lambda data: data.obs.insert(0, "in_tissue", 0)), ("no spot has in_tissue = 1",)),
    "two libraries": (_changed(_two_libraries), ("holds several libraries", "no column of obs", "obs['library_id']")),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore:Observation names are not unique:UserWarning")
@pytest.mark.parametrize("kind", H5AD)
def test_a_bad_h5ad(kind: str, fails: Any, train: Any, form: Any) -> None:
    root = form("h5ad")
    damage, words = H5AD[kind]
    damage(root / "toy1.h5ad")
    fails(train(of("h5ad", root)), *words)


H5AD_SETTINGS: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {
    "no scale": ({"mpp": None}, ("section toy1", "do not stand as on a Visium slide", "set data.mpp")),
    "a picture that is not there": ({"image": "{name}.png"}, ("toy1.png: no such image",)),
    "one picture for both": ({"image": "he.png"}, ("data.image: he.png is the same picture", "'toy1' and 'toy2'")),
    "a scale the file does not know": (
        {"image": "{name}.png", "image_scale": "lowres"}, ("toy1.h5ad: tissue_lowres_scalef", "is None"),
    ),
    "an unknown section": ({"sections": ["toy1", "toy9"]}, ("has no section 'toy9'", "found toy1, toy2")),
}  # fmt: skip


@pytest.mark.parametrize("kind", H5AD_SETTINGS)
def test_settings_that_do_not_fit_an_h5ad(kind: str, fails: Any, train: Any, form: Any) -> None:
    over, words = H5AD_SETTINGS[kind]
    fails(train(of("h5ad", form("h5ad"), **over)), *words)


@pytest.mark.parametrize("source", ["h5ad", "hest", "spatialdata"])
def test_a_place_that_holds_nothing_of_the_form(source: str, fails: Any, train: Any, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes.txt").write_text("nothing")
    fails(train(of(source, tmp_path / "empty")), f"no section of the form {source} is there")
    fails(train(of(source, tmp_path / "gone")), "no such file or folder")
    words = "is no .h5ad file" if source == "h5ad" else f"no section of the form {source} is there"
    fails(train(of(source, tmp_path / "notes.txt")), "notes.txt", words)


def _facts(**changes: Any) -> Callable[[Path], None]:
    def damage(root: Path) -> None:
        path = root / "metadata" / "toy1.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))

    return damage


def _garbled(root: Path) -> None:
    path = root / "wsis" / "toy1.tif"
    with tifffile.TiffFile(path) as file:
        offset, count = file.pages[0].dataoffsets[5], file.pages[0].databytecounts[5]
    content = bytearray(path.read_bytes())
    content[offset : offset + count] = bytes(255 - byte for byte in content[offset : offset + count])
    path.write_bytes(content)


def _no_id(root: Path) -> None:
    (root / "metadata" / "toy1.json").unlink()
    (root / "HEST_v1_1_0.csv").write_text("name,patient\ntoy1,p\n")


HEST: dict[str, tuple[Callable[[Path], Any], tuple[str, ...]]] = {
    "no metadata": (lambda root: (root / "metadata/toy1.json").unlink(), ("toy1.json: no such file", "metadata of section")),
    "metadata cut short": (lambda root: _cut(root / "metadata/toy1.json"), ("toy1.json: is damaged",)),
    "metadata that are a list": (lambda root: (root / "metadata/toy1.json").write_text("[1]"), ("toy1.json: holds a list",)),
    "a table without ids": (_no_id, ("HEST_v1_1_0.csv: has no column 'id'",)),
    "no scale": (_facts(pixel_size_um_estimated=None), ("section toy1: pixel_size_um_estimated", "set data.mpp")),
    "scale zero": (_facts(pixel_size_um_estimated=0), ("pixel_size_um_estimated in its metadata is 0", "set data.mpp")),
    "another species": (_facts(species="Mus musculus"), ("sections of several species (human, mouse)",)),
    "no slide": (lambda root: (root / "wsis/toy1.tif").unlink(), ("has no slide of section toy1", "toy1.tif")),
    "a slide twice": (
        lambda root: shutil.copy(root / "wsis/toy1.tif", root / "wsis/toy1.tiff"), ("several files", "slide of section toy1"),
    ),
    "a slide cut short": (lambda root: _cut(root / "wsis/toy1.tif"), ("toy1.tif: is damaged or cut short",)),
    "a slide that is none": (lambda root: (root / "wsis/toy1.tif").write_bytes(b"II*\0none"), ("toy1.tif", "cannot be read")),
    "a slide garbled inside": (_garbled, ("toy1.tif", "cannot be read as a slide")),
    "counts cut short": (lambda root: _cut(root / "st/toy1.h5ad"), ("toy1.h5ad: cannot be read as an AnnData",)),
    "positions of another slide": (
        lambda root: _spatial(lambda xy: xy * 3)(root / "st/toy1.h5ad"), ("section toy1", "lie outside the slide of 256 x 256"),
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", HEST)
def test_a_bad_hest_folder(kind: str, fails: Any, train: Any, form: Any) -> None:
    root = form("hest")
    damage, words = HEST[kind]
    damage(root)
    fails(train(of("hest", root, mpp=None)), *words)


def _parts(**kinds: Callable[[Any], dict[str, Any]]) -> Callable[[Path, Any], None]:
    """Write the store anew, some of its parts made from the section."""

    def damage(path: Path, section: Any) -> None:
        shutil.rmtree(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            parts = {kind: make(section) for kind, make in kinds.items()}
        write_spatialdata(section, path, **parts)

    return damage


def _shapes(xy: np.ndarray, name: str = "spots", system: str = "global") -> dict[str, Any]:
    from spatialdata.models import ShapesModel
    from spatialdata.transformations import Identity

    return {name: ShapesModel.parse(xy, geometry=0, radius=10.0, transformations={system: Identity()})}


def _image(section: Any, system: str = "global", stretch: float = 1.0) -> dict[str, Any]:
    from spatialdata.models import Image2DModel
    from spatialdata.transformations import Scale

    picture = section.slide.region(0, 0, 256, "white").transpose(2, 0, 1)
    moved = {system: Scale([1.0, stretch], ("x", "y"))}
    return {"he": Image2DModel.parse(picture, dims=("c", "y", "x"), transformations=moved)}


def _plain_table(section: Any) -> dict[str, Any]:
    from spatialdata.models import TableModel

    return {"table": TableModel.parse(AnnData(sparse.csr_matrix(section.counts.X)))}


def _labelled(section: Any) -> dict[str, Any]:
    from spatialdata.models import Labels2DModel

    return {"spots": Labels2DModel.parse(np.arange(65536).reshape(256, 256), dims=("y", "x"))}


def _emptied(path: Path, section: Any) -> None:
    shutil.rmtree(path)
    path.mkdir()


def _first_of(path: Path, pattern: str) -> Path:
    return min(found for found in path.glob(pattern) if found.is_file())


STORE: dict[str, tuple[Callable[[Path, Any], Any], dict[str, Any], tuple[str, ...]]] = {
    "an empty folder": (_emptied, {}, ("toy1.zarr: cannot be read as a SpatialData store",)),
    "a file": (lambda path, _: (shutil.rmtree(path), path.write_text("x")), {}, ("toy1.zarr: cannot be read",)),
    "metadata cut short": (lambda path, _: _cut(path / "zarr.json"), {}, ("toy1.zarr: cannot be read",)),
    "metadata of the image cut short": (
        lambda path, _: _cut(path / "images/he/zarr.json"), {}, ("toy1.zarr: cannot be read", "images/he"),
    ),
    "a table cut short": (
        lambda path, _: _first_of(path, "tables/table/X/data/c/*").write_bytes(b"1"), {}, ("toy1.zarr: cannot be read",),
    ),
    "shapes cut short": (
        lambda path, _: _cut(path / "shapes/spots/shapes.parquet"), {}, ("toy1.zarr: cannot be read",),
    ),
    "a block cut short": (
        lambda path, _: _cut(_first_of(path, "images/he/s1/c/0/0/*")), {}, ("s1: cannot be read as an image in Zarr",),
    ),
    "no image": (_parts(images=lambda _: {}), {}, ("toy1.zarr: holds no image",)),
    "no table": (_parts(tables=lambda _: {}), {}, ("toy1.zarr: holds no table",)),
    "no shapes": (
        _parts(shapes=lambda _: {}), {}, ("the table annotates 'spots', which is not in the store; found no shapes",),
    ),
    "a region that is not there": (
        _parts(shapes=lambda s: _shapes(s.xy, "others")), {}, ("annotates 'spots', which is not in the store; found others",),
    ),
    "labels for shapes": (
        _parts(shapes=lambda _: {}, labels=_labelled), {}, ("annotates 'spots', which is labels", "expected circles"),
    ),
    "a table that annotates nothing": (_parts(tables=_plain_table), {}, ("the table does not say which shapes",)),
    "another image": ({}, {"element": "lowres"}, ("has no image 'lowres'; found he: set data.element",)),
    "another table": ({}, {"table": "bins"}, ("has no table 'bins'; found table: set data.table",)),
    "another system": ({}, {"system": "microns"}, ("not in the coordinate system 'microns'; found global: set data.system",)),
    "an image of another system": (
        _parts(images=lambda s: _image(s, "hires")), {}, ("image he is not in the coordinate system 'global'; found hires",),
    ),
    "shapes of another system": (
        _parts(shapes=lambda s: _shapes(s.xy, system="hires")), {}, ("shapes spots is not in", "found hires"),
    ),
    "pixels that are not square": (_parts(images=lambda s: _image(s, stretch=2.0)), {}, ("makes pixels of 2 x 1",)),
    "an image without extent": (_parts(images=lambda s: _image(s, stretch=0.0)), {}, ("has no inverse",)),
    "a missing position": (
        _parts(shapes=lambda s: _shapes(_with(s.xy.copy(), (0, 0), np.nan))), {}, ("toy1",),
    ),
    "x and y swapped": (
        _parts(shapes=lambda s: _shapes(s.xy[:, ::-1] + [0, 200])), {}, ("outside the slide", "(240, 440)"),
    ),
    "no scale": ({}, {"mpp": None}, ("section toy1", "do not stand as on a Visium slide", "set data.mpp")),
}  # fmt: skip


@pytest.mark.parametrize("kind", STORE)
def test_a_bad_store(kind: str, fails: Any, train: Any, form: Any, toys: tuple[Any, ...]) -> None:
    root = form("spatialdata")
    damage, over, words = STORE[kind]
    if callable(damage):
        damage(root / "toy1.zarr", toys[0])
    fails(train(of("spatialdata", root, **over)), *words)
