"""Space Ranger's folders, of every version, read to the same tissue."""

import json
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
from scipy import io, sparse

from bleep.errors import DataError
from bleep.settings import DataConfig
from bleep.tissue.section import Section
from bleep.tissue.slides import save_png
from bleep.tissue.sources import read_sections
from bleep.tissue.sources.visium import COLUMNS
from bleep.tissue.toy import toy_section

TOY = toy_section("toy", "donor", 3, side=256)
SCALE = 0.25
"""The toy slide stands for the hires picture of a full-resolution one four times as large."""


def visium(out: Path, positions: str = "tissue_positions.csv", counts: str = "h5") -> Path:
    spatial = out / "spatial"
    spatial.mkdir(parents=True)
    save_png(TOY.slide.region(0, 0, 256, "white"), spatial / "tissue_hires_image.png")
    factors = {"tissue_hires_scalef": SCALE, "tissue_lowres_scalef": SCALE / 4, "spot_diameter_fullres": 60.0}
    (spatial / "scalefactors_json.json").write_text(json.dumps(factors))
    ids = [*TOY.counts.obs_names, "outside"]
    xy = np.concatenate([TOY.xy, [[5.0, 5.0]]]) / SCALE
    rows = pd.DataFrame(
        dict(zip(COLUMNS, (ids, [1] * len(TOY) + [0], range(len(ids)), range(len(ids)), xy[:, 1], xy[:, 0]), strict=True))
    )
    if positions.endswith("parquet"):
        rows.to_parquet(spatial / positions)
    else:
        rows.to_csv(spatial / positions, index=False, header=positions == "tissue_positions.csv")
    matrix = sparse.csc_matrix(TOY.counts.X.T).astype(np.int32)
    names = [*TOY.genes[:-1], TOY.genes[0]]
    keys = [f"ENSTOY{number:05d}" for number in range(len(names))]
    if counts == "h5":
        with h5py.File(out / "sample_filtered_feature_bc_matrix.h5", "w") as file:
            part = file.create_group("matrix")
            for key, value in {"data": matrix.data, "indices": matrix.indices, "indptr": matrix.indptr}.items():
                part[key] = value
            part["shape"] = matrix.shape
            part["barcodes"] = [name.encode() for name in TOY.counts.obs_names]
            part["features/id"], part["features/name"] = [k.encode() for k in keys], [n.encode() for n in names]
            part["features/feature_type"] = [b"Gene Expression"] * len(names)
    else:
        folder = out / "filtered_feature_bc_matrix"
        folder.mkdir()
        io.mmwrite(folder / "matrix.mtx", matrix)
        pd.DataFrame({0: keys, 1: names, 2: "Gene Expression"}).to_csv(
            folder / "features.tsv", sep="\t", header=False, index=False
        )
        pd.DataFrame({0: TOY.counts.obs_names}).to_csv(folder / "barcodes.tsv", sep="\t", header=False, index=False)
    return out


def read(root: Path, **more: object) -> Section:
    (section,) = read_sections(DataConfig.model_validate({"source": "visium", "root": root, **more}))
    return section


@pytest.mark.parametrize("positions", ["tissue_positions_list.csv", "tissue_positions.csv", "tissue_positions.parquet"])
@pytest.mark.parametrize("counts", ["h5", "mtx"])
def test_every_version_reads_to_the_same_tissue(positions: str, counts: str, tmp_path: Path) -> None:
    section = read(visium(tmp_path / "sample" / "outs", positions, counts))
    assert section.name == "sample"
    assert list(section.counts.obs_names) == list(TOY.counts.obs_names)
    np.testing.assert_allclose(section.xy, TOY.xy)
    np.testing.assert_array_equal(sparse.csr_matrix(section.counts.X).toarray(), TOY.counts.X.toarray())
    assert section.mpp == pytest.approx(100.0 / (section.pitch()), rel=0.3)


def test_symbols_that_stand_twice_are_made_unique_and_ids_kept(tmp_path: Path) -> None:
    section = read(visium(tmp_path / "a"))
    assert list(section.genes[[0, -1]]) == ["TOY01", "TOY01-1"]
    assert list(section.counts.var["gene_id"].iloc[:2]) == ["ENSTOY00000", "ENSTOY00001"]


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda at: (at / "spatial/tissue_positions.csv").unlink(), "has no positions"),
        (lambda at: (at / "spatial/scalefactors_json.json").write_text("{}"), "tissue_hires_scalef is None"),
        (lambda at: (at / "spatial/tissue_hires_image.png").unlink(), "name the picture with data.image"),
        (lambda at: (at / "sample_filtered_feature_bc_matrix.h5").unlink(), "has no counts"),
        (lambda at: (at / "sample_filtered_feature_bc_matrix.h5").write_bytes(b"\x89HDF"), "is no count file"),
        (lambda at: (at / "other_filtered_feature_bc_matrix.h5").write_bytes(b""), "has several count files"),
    ],
)
def test_a_damaged_folder_is_refused_in_one_sentence(damage: object, words: str, tmp_path: Path) -> None:
    root = visium(tmp_path / "sample")
    assert callable(damage)
    damage(root)
    with pytest.raises(DataError, match=words) as caught:
        read(root)
    assert "\n" not in str(caught.value)


def test_matrices_of_different_runs_are_refused(tmp_path: Path) -> None:
    root = visium(tmp_path / "sample", counts="mtx")
    path = root / "filtered_feature_bc_matrix" / "barcodes.tsv"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))
    with pytest.raises(DataError, match="they are of different runs"):
        read(root)


@pytest.mark.data
def test_the_public_sections_read_as_their_readmes_say(shared: Path) -> None:
    muscle = read(
        shared / "data/visium_mouse_muscle", image="derived_hires_pansharpened.jpg", image_scale="hires", species="mouse"
    )
    assert muscle.counts.shape == (982, 33217)
    assert np.median(np.asarray(muscle.counts.X.sum(axis=1))) == 4903
    assert muscle.mpp == pytest.approx(4.0, abs=0.05)
    assert muscle.pitch() == pytest.approx(25, abs=0.5)
    assert read(shared / "data/visium_mini_spaniel").counts.shape == (3352, 815)
    assert read(shared / "data/visium_cytassist_mouse_embryo").counts.shape == (2898, 19465)


@pytest.mark.data
def test_h5_and_mtx_of_one_sample_hold_the_same_counts(shared: Path, tmp_path: Path) -> None:
    source = shared / "data/visium_cytassist_mouse_embryo"
    packed = read(source)
    plain = tmp_path / "plain"
    plain.mkdir()
    for name in ("spatial", "filtered_feature_bc_matrix"):
        (plain / name).symlink_to(source / name)
    other = read(plain)
    assert list(packed.genes) == list(other.genes)
    assert (sparse.csr_matrix(packed.counts.X) != sparse.csr_matrix(other.counts.X)).nnz == 0
