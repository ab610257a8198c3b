"""Tables of users whose commas have blanks beside them are read as without."""

import csv
import io
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bleep.config import Config, DataConfig
from bleep.contest import ContestTable, Submission
from bleep.data.readers import read_sections
from bleep.data.readers.spaceranger import read_positions
from bleep.data.section import Section, without_spots
from bleep.workflows import inputs_of
from bleep.workflows.init import plan


def space(path: Path) -> Path:
    """Write a blank on either side of each comma of a CSV."""
    rows = list(csv.reader(io.StringIO(path.read_text(encoding="utf-8-sig"))))
    lines = [" , ".join(row) for row in rows]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def test_patches_and_ready_cut_tiles(files: Path, tmp_path: Path) -> None:
    table = tmp_path / "folder" / "train.csv"
    shutil.copytree(files / "folder", tmp_path / "folder")
    plain = read_sections(DataConfig(root=table))
    written = pd.read_csv(table)
    found = read_sections(DataConfig(root=space(table)))
    assert [one.digest() for one in found] == [one.digest() for one in plain]
    assert [(one.name, one.patient) for one in found] == [(one.name, one.patient) for one in plain]
    assert plan(table, {}).config().data.source == "folder"
    assert (table.parent / written["path"][0]) in set(inputs_of(Config.load({"data": {"root": str(table)}})))
    patches = written[["path"]].assign(label="a b", patient="P 1")
    patches.to_csv(table, index=False)
    (section,) = read_sections(DataConfig(source="patches", root=space(table)))
    assert (section.patient, set(section.counts.obs["label"])) == ("P 1", {"a b"})
    assert plan(table, {}).config().data.source == "patches"


def test_patients_and_annotations(files: Path, tmp_path: Path) -> None:
    shutil.copytree(files / "st2k", tmp_path / "st2k")
    space(tmp_path / "st2k" / "sections.csv")
    plain = read_sections(DataConfig(source="st2k", root=files / "st2k"))
    first = plain[0].counts.obs_names[0]
    (tmp_path / "labels.csv").write_text(f"section , spot , tissue\ntoy1, {first}, tumour core\n", encoding="utf-8")
    found = read_sections(DataConfig(source="st2k", root=tmp_path / "st2k", annotations=tmp_path / "labels.csv"))
    assert [(one.patient, one.species, one.mpp) for one in found] == [(one.patient, one.species, one.mpp) for one in plain]
    assert found[0].counts.obs["tissue"].iloc[0] == "tumour core"


def test_spots_left_out(toys: tuple[Section, ...], tmp_path: Path) -> None:
    first = toys[0].counts.obs_names[0]
    (tmp_path / "drop.csv").write_text(f"section , spot\ntoy1, {first}\n", encoding="utf-8")
    assert len(without_spots(toys, DataConfig(drop=(str(tmp_path / "drop.csv"),)))[0]) == len(toys[0]) - 1


@pytest.mark.parametrize("header", [True, False])
def test_positions_of_space_ranger(header: bool, tmp_path: Path) -> None:
    row = {"barcode": "AAACCC-1", "in_tissue": 1, "array_row": 0, "array_col": 2}
    table = pd.DataFrame([row | {"pxl_row_in_fullres": 5, "pxl_col_in_fullres": 7}])
    table.to_csv(tmp_path / "p.csv", index=False, header=header)
    plain = read_positions(tmp_path / "p.csv")
    pd.testing.assert_frame_equal(read_positions(space(tmp_path / "p.csv")), plain)


def test_the_contests_tables(tmp_path: Path) -> None:
    table = pd.DataFrame({"ID": ["T 1", "T 2"], "G1": [1.0, 2.0], "G2": [3.0, 4.0]})
    table.to_csv(tmp_path / "s.csv", index=False)
    plain = ContestTable.read(tmp_path / "s.csv")
    found = ContestTable.read(space(tmp_path / "s.csv"))
    found.check_same(plain)
    submission = Submission.of(tmp_path / "s.csv", ["T 1", "T 2"], ["G2", "G1"])
    submission.write(np.float32([[3, 1], [4, 2]]), tmp_path / "out.csv")
    np.testing.assert_array_equal(ContestTable.read(tmp_path / "out.csv").values, plain.values)
