"""Every form of files reads to the same tissue."""

import importlib
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import get_args

import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csr_matrix

from bleep.config import DataConfig, SourceName
from bleep.data.readers import SOURCES, has_form, read_sections
from bleep.data.section import Section
from bleep.errors import DataError

Copies = Callable[[str], Path]


def read(form: str, root: Path, **over: object) -> dict[str, Section]:
    sections = read_sections(DataConfig.model_validate({"source": form, "root": str(root), "mpp": 1.0, **over}))
    return {section.name: section for section in sections}


def dense(section: Section) -> np.ndarray:
    return csr_matrix(section.counts.X).toarray()


@pytest.mark.parametrize("form", ["st2k", "her2st"])
def test_slides_read_to_the_tissue_they_were_written_from(form: str, files: Path, toys: tuple[Section, ...]) -> None:
    found = read(form, files / form)
    assert list(found) == ["toy1", "toy2", "toy3", "toy4"]
    for toy in toys:
        section = found[toy.name]
        assert list(section.counts.obs_names) == list(toy.counts.obs_names)
        assert list(section.genes) == list(toy.genes)
        np.testing.assert_array_equal(dense(section), dense(toy))
        np.testing.assert_array_equal(section.xy, toy.xy)
        assert section.slide.size == toy.slide.size
    if form == "st2k":
        assert [section.patient for section in found.values()] == [toy.patient for toy in toys]


def test_the_contest_form_reads_to_the_tissue_it_was_written_from(files: Path, toys: tuple[Section, ...]) -> None:
    found = read("folder", files / "folder" / "train.csv")
    assert list(found) == ["toy1", "toy2"]
    np.testing.assert_array_equal(dense(found["toy1"]), dense(toys[0]))
    assert list(found["toy1"].counts.obs_names) == [f"toy1_{spot}" for spot in toys[0].counts.obs_names]


def test_a_csv_without_genes_has_nothing_measured(files: Path, toys: tuple[Section, ...]) -> None:
    found = read("folder", files / "folder" / "test.csv")
    assert {name: (len(section), len(section.genes)) for name, section in found.items()} == {
        toy.name: (len(toy), 0) for toy in toys[2:]
    }


def test_a_patient_of_a_table_may_be_called_na(copies: Copies) -> None:
    root = copies("st2k")
    (root / "sections.csv").write_text("section,patient\ntoy1,NA\ntoy2,None\n")
    assert [read("st2k", root)[name].patient for name in ("toy1", "toy2")] == ["NA", "None"]
    csv = copies("folder") / "train.csv"
    pd.read_csv(csv).assign(patient="NA").to_csv(csv, index=False)
    assert {section.patient for section in read("folder", csv).values()} == {"NA"}


def test_spaces_around_a_patient_make_no_other_one(copies: Copies) -> None:
    root = copies("st2k")
    (root / "sections.csv").write_text("section,patient\ntoy1 ,A\ntoy2, A \ntoy3,B\ntoy4,B\n")
    assert [section.patient for section in read("st2k", root).values()] == ["A", "A", "B", "B"]
    (root / "sections.csv").write_text("section,patient\ntoy1,A\ntoy2,A\ntoy1,B\n")
    with pytest.raises(DataError, match=r"sections\.csv: section 'toy1' stands under several; name one patient"):
        read("st2k", root)
    csv = copies("folder") / "train.csv"
    table = pd.read_csv(csv)
    table["patient"] = np.where(table.index % 2, "A", " A ")
    table["section"] = np.where(table.index % 3, table["section"], table["section"] + " ")
    table.to_csv(csv, index=False)
    assert {name: section.patient for name, section in read("folder", csv).items()} == {"toy1": "A", "toy2": "A"}
    table["patient"] = " "
    table.to_csv(csv, index=False)
    with pytest.raises(DataError, match="line 2 has no patient"):
        read("folder", csv)


def test_a_bare_folder_of_tiles_is_one_section(files: Path, toys: tuple[Section, ...]) -> None:
    found = read("folder", files / "folder" / "test")
    assert list(found) == ["test"]
    assert len(found["test"]) == len(toys[2]) + len(toys[3])


@pytest.mark.parametrize(("form", "suffix"), [("st2k", "alignment_table_toy1.tsv"), ("her2st", "toy1_selection.tsv")])
@pytest.mark.parametrize("side", ["counts", "positions"])
def test_permuted_rows_join_to_the_same_section(form: str, suffix: str, side: str, files: Path, copies: Copies) -> None:
    root = copies(form)
    path = root / "toy1" / ("toy1.tsv.gz" if side == "counts" else suffix)
    table = pd.read_csv(path, sep="\t", index_col=0 if side == "counts" else None)
    table = table.sample(frac=1, random_state=1)
    table.to_csv(path, sep="\t", index=side == "counts")
    before, after = read(form, files / form)["toy1"], read(form, root)["toy1"]
    if side == "counts":
        assert after.digest() == before.digest()
    order = [list(after.counts.obs_names).index(spot) for spot in before.counts.obs_names]
    again = after.subset(np.array(order))
    assert again.digest() == before.digest()


def test_permuted_rows_of_a_csv_keep_each_tile_with_its_counts(files: Path, copies: Copies) -> None:
    path = copies("folder") / "train.csv"
    pd.read_csv(path).sample(frac=1, random_state=1).to_csv(path, index=False)
    before, after = (read("folder", root)["toy2"] for root in (files / "folder" / "train.csv", path))
    order = [list(after.counts.obs_names).index(spot) for spot in before.counts.obs_names]
    assert order != sorted(order)
    assert after.subset(np.array(order)).ids == before.ids
    np.testing.assert_array_equal(dense(after)[order], dense(before))
    for row in (0, 17):
        x = int(after.xy[order[row], 0]) - 32
        mine, its = (section.slide.region(at, 0, 64, "white") for section, at in ((after, x), (before, 64 * row)))
        np.testing.assert_array_equal(mine, its)


def test_what_has_no_partner_is_dropped_and_said_aloud(copies: Copies, caplog: pytest.LogCaptureFixture) -> None:
    root = copies("st2k")
    path = root / "toy1" / "toy1.tsv.gz"
    table = pd.read_csv(path, sep="\t", index_col=0)
    kept = table.iloc[2:].rename(index={table.index[2]: "99x99"})
    kept.to_csv(path, sep="\t")
    section = read("st2k", root, sections=["toy1"])["toy1"]
    assert len(section) == len(table) - 3
    assert "dropped 1 with counts but no position, 3 with a position but no counts" in caplog.text


def test_the_scale_of_the_2k_array_follows_from_its_pitch(files: Path) -> None:
    sections = read("st2k", files / "st2k", mpp=None)
    assert sections["toy1"].mpp == pytest.approx(141.42 / 32, rel=1e-3)


def test_her2st_knows_its_scale_species_and_patients(files: Path, tmp_path: Path) -> None:
    (tmp_path / "C2").mkdir()
    for path in (files / "her2st").rglob("*toy2*"):
        if path.is_file():
            shutil.copy(path, tmp_path / path.name.replace("toy2", "C2"))
    (picture,) = (files / "her2st" / "toy2").glob("*.jp*g")
    shutil.copy(picture, tmp_path / "C2" / picture.name)
    section = read("her2st", tmp_path, mpp=None)["C2"]
    assert (section.mpp, section.species, section.patient) == (0.69, "human", "C")
    for path in (files / "her2st" / "toy1").iterdir():
        (tmp_path / "toy1").mkdir(exist_ok=True)
        shutil.copy(path, tmp_path / "toy1" / path.name)
    both = read("her2st", tmp_path, mpp=None)
    assert {name: (one.species, one.patient) for name, one in both.items()} == {
        "C2": ("unknown", "C"),
        "toy1": ("unknown", "toy1"),
    }


def test_other_tissue_in_the_form_of_her2st_is_not_taken_for_its_patients(files: Path) -> None:
    section = read("her2st", files / "her2st", mpp=None, sections=["toy2"])["toy2"]
    assert (section.mpp, section.species, section.patient) == (0.69, "unknown", "toy2")
    said = read("her2st", files / "her2st", patients={"toy2": "someone"}, species="mouse")["toy2"]
    assert (said.species, said.patient) == ("mouse", "someone")


def test_sections_come_in_the_order_they_are_asked_for(files: Path) -> None:
    assert list(read("st2k", files / "st2k", sections=["toy3", "toy1"])) == ["toy3", "toy1"]


def test_one_section_folder_can_be_the_root(files: Path) -> None:
    for form in ("st2k", "her2st"):
        assert list(read(form, files / form / "toy2")) == ["toy2"]
        assert has_form(files / form / "toy2", form)
    assert not has_form(files / "folder", "st2k")


def test_toy_tissue_is_made_without_files() -> None:
    found = read("toy", Path("nowhere"), sections=["toy2"])
    assert [section.patient for section in found.values()] == ["donor1"]


def test_a_windows_csv_with_a_byte_order_mark_is_read(copies: Copies) -> None:
    path = copies("folder") / "train.csv"
    before = read("folder", path)
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n"))
    after = read("folder", path)
    assert [section.digest() for section in after.values()] == [section.digest() for section in before.values()]


def test_names_that_look_like_numbers_stay_text(copies: Copies) -> None:
    path = copies("folder") / "train.csv"
    table = pd.read_csv(path)
    table["ID"] = [f"{number:04d}" for number in range(len(table))]
    table["section"] = "007"
    table.to_csv(path, index=False)
    (section,) = read("folder", path).values()
    assert (section.name, section.counts.obs_names[3]) == ("007", "0003")


def test_every_form_has_a_reader() -> None:
    assert set(SOURCES) == set(get_args(SourceName))
    for module in SOURCES.values():
        assert callable(importlib.import_module(module).read)


def test_a_section_that_stands_under_two_patients_is_refused(copies: Copies) -> None:
    path = copies("folder") / "train.csv"
    table = pd.read_csv(path)
    table["patient"] = ["one"] * 5 + ["two"] * (len(table) - 5)
    table.to_csv(path, index=False)
    with pytest.raises(DataError, match="section 'toy1' stands under patient 'one' and 'two'"):
        read("folder", path)


@pytest.mark.data
def test_her2st_reads_to_what_was_published(shared: Path) -> None:
    root = shared / "data" / "her2st"
    (section,) = read("her2st", root, mpp=None, sections=["C2"]).values()
    assert (len(section), len(section.genes), section.mpp, section.patient) == (187, 15706, 0.69, "C")
    # Spots lie 200 microns apart; the nearest of four jittered neighbours is nearer, so the grid itself is fitted.
    grid = np.array([[float(part) for part in spot.split("x")] for spot in section.counts.obs_names])
    step = np.linalg.lstsq(np.column_stack([grid, np.ones(len(grid))]), section.xy)[0][:2]
    assert np.linalg.norm(step, axis=1) * section.mpp == pytest.approx([200, 200], rel=0.02)


@pytest.mark.data
def test_the_olfactory_bulb_reads_to_what_was_published(shared: Path) -> None:
    (section,) = read("st2k", shared / "data" / "mob_st2k", mpp=None, sections=["MOB1"]).values()
    assert len(section) == 379
    assert section.pitch() * section.mpp == pytest.approx(141.4, rel=0.03)
