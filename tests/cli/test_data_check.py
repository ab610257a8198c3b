"""`bleep data check`: what is printed, and the exit code."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from bleep.cli import app

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def recipe_of(tmp_path: Path) -> Callable[..., Path]:
    """Write a recipe for tissue in the st2k form."""

    def write(root: Path, **data: Any) -> Path:
        tree = {
            "data": {"source": "st2k", "root": str(root), "split": "patient", "test": ["donor2"], **data},
            "tiles": {"pixels": 64, "microns": [280.0]},
            "panel": {"size": 12},
            "cache": str(tmp_path / "cache"),
        }
        (tmp_path / "own.yaml").write_text(yaml.safe_dump(tree))
        return tmp_path / "own.yaml"

    return write


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    def check(*words: object) -> tuple[int, str, str]:
        capsys.readouterr()
        code = app.main(["data", "check", *map(str, words)])
        out, err = capsys.readouterr()
        assert "Traceback" not in err
        return code, out, err

    return check


def findings(out: str) -> list[tuple[str, str]]:
    return [(finding["severity"], finding["kind"]) for finding in json.loads(out)["findings"]]


def test_clean_tissue_is_a_table_and_exit_code_0(files: Path, recipe_of: Any, run: Run) -> None:
    code, out, _ = run("--config", recipe_of(files / "st2k"))
    lines = out.splitlines()
    assert code == 0
    assert lines[0].split()[:3] == ["section", "patient", "spots"]
    assert [line.split()[:2] for line in lines[2:6]] == [[f"toy{i}", f"donor{(i + 1) // 2}"] for i in range(1, 5)]
    assert lines[-1] == "nothing found that would spoil a result"
    assert all(len(line) <= 120 for line in lines)


def test_the_recipe_may_stand_without_a_flag_and_settings_win_over_it(files: Path, recipe_of: Any, run: Run) -> None:
    recipe = recipe_of(files / "st2k")
    assert run(recipe)[:2] == run("--config", recipe)[:2]
    code, out, _ = run(recipe, "--data.split", "section", "--data.test", "toy4", "--json")
    assert code == 1
    assert findings(out) == [("error", "patient")]


def test_json_stands_alone_on_standard_output(files: Path, recipe_of: Any, run: Run) -> None:
    code, out, _ = run("--json", "--config", recipe_of(files / "st2k"))
    tree = json.loads(out)
    assert code == 0
    assert tree["findings"] == []
    assert [section["section"] for section in tree["sections"]] == ["toy1", "toy2", "toy3", "toy4"]
    assert tree["sections"][0]["windows"] == [63]
    assert (tree["sections"][0]["dropped_counts"], tree["sections"][0]["dropped_positions"]) == (0, 0)


def test_a_leak_between_single_spots_is_an_error_and_blocks_a_warning(files: Path, recipe_of: Any, run: Run) -> None:
    for split, expected in (("random", [("error", "leak")]), ("block", [("warning", "patient")]), ("none", [])):
        code, out, _ = run(recipe_of(files / "st2k", split=split, test=[]), "--json")
        assert (code, findings(out)) == (int(split == "random"), expected)


def test_one_patient_alone_is_a_warning_and_nobody_said_who_too(files: Path, recipe_of: Any, run: Run) -> None:
    alone = recipe_of(files / "st2k", split="section", test=["toy2"], sections=["toy1", "toy2"])
    code, out, _ = run(alone, "--json")
    assert (code, findings(out)) == (0, [("warning", "patient")])
    assert "one patient" in out
    unnamed = recipe_of(files / "st2k", split="section", test=["toy2"], patients={f"toy{i}": f"toy{i}" for i in range(1, 5)})
    code, out, _ = run(unnamed, "--json")
    assert (code, findings(out)) == (0, [("warning", "patient")])
    assert "data.patients" in out


def test_a_section_under_two_names_is_an_error(copies: Any, recipe_of: Any, run: Run) -> None:
    root = copies("st2k")
    shutil.copytree(root / "toy1", root / "again")
    for path in (root / "again").iterdir():
        path.rename(path.with_name(path.name.replace("toy1", "again")))
    code, out, _ = run(recipe_of(root, patients={"again": "donor2"}))
    assert code == 1
    assert "error: same-tissue, again, toy1" in out
    assert out.splitlines()[-1].startswith("1 error, 0 warnings")


def test_a_copied_picture_that_training_refuses_is_an_error(copies: Any, recipe_of: Any, run: Run) -> None:
    root = copies("st2k")
    shutil.copy(root / "toy1" / "toy1.jpg", root / "toy2" / "toy2.jpg")
    code, out, _ = run(recipe_of(root), "--json")
    assert (code, findings(out)) == (1, [("error", "same-tissue")])
    assert "lie at the same places of one picture" in out


def test_a_copied_picture_is_told_wherever_its_spots_lie(copies: Any) -> None:
    from bleep.config import DataConfig
    from bleep.data.readers import read_sections
    from bleep.workflows.data import _copied

    root = copies("st2k")
    shutil.copy(root / "toy1" / "toy1.jpg", root / "toy2" / "toy2.jpg")
    sections = read_sections(DataConfig(source="st2k", root=root), purpose="check")
    (found,) = _copied(sections, [])
    assert (found.severity, found.kind, found.sections) == ("warning", "same-picture", ("toy1", "toy2"))


def test_one_broken_section_does_not_hide_the_others(copies: Any, recipe_of: Any, run: Run) -> None:
    root = copies("st2k")
    names = [f"toy{i}" for i in range(1, 5)]
    (root / "toy2" / "toy2.tsv.gz").write_bytes(b"no table")
    code, out, _ = run(recipe_of(root, sections=names), "--json")
    tree = json.loads(out)
    assert code == 1
    assert [section["section"] for section in tree["sections"]] == ["toy1", "toy3", "toy4"]
    assert [(f["kind"], f["sections"]) for f in tree["findings"]] == [("unreadable", ["toy2"])]
    assert "toy2.tsv.gz" in tree["findings"][0]["message"]


def test_a_damaged_picture_is_a_finding(copies: Any, recipe_of: Any, run: Run) -> None:
    root = copies("st2k")
    picture = root / "toy1" / "toy1.jpg"
    picture.write_bytes(picture.read_bytes()[:3000])
    code, out, _ = run(recipe_of(root), "--json")
    assert code == 1
    assert findings(out) == [("error", "unreadable")]
    assert "damaged or cut short" in out


def test_a_split_or_panel_that_cannot_be_made_is_a_finding(files: Path, recipe_of: Any, run: Run) -> None:
    code, out, _ = run(recipe_of(files / "st2k", test=[], folds=4), "--json")
    assert (code, findings(out)) == (1, [("error", "split")])
    code, out, _ = run(recipe_of(files / "st2k"), "--panel.size", "500", "--json")
    assert (code, findings(out)) == (1, [("error", "panel")])


def test_data_that_cannot_be_read_end_in_a_sentence_and_exit_code_2(tmp_path: Path, recipe_of: Any, run: Run) -> None:
    code, out, err = run(recipe_of(tmp_path / "gone"), "--json")
    assert (code, out) == (2, "")
    assert "no such file or folder" in err
    code, out, err = run(tmp_path / "no.yaml")
    assert (code, out) == (2, "")
    assert "no such configuration file" in err


def test_the_contest_form_is_checked_too(files: Path, tmp_path: Path, run: Run) -> None:
    tree = {"data": {"source": "folder", "root": str(files / "folder" / "train.csv"), "split": "none"}, "panel": {"size": 12}}
    (tmp_path / "tiles.yaml").write_text(yaml.safe_dump({**tree, "tiles": {"pixels": 64, "microns": [64.0]}}))
    code, out, _ = run(tmp_path / "tiles.yaml", "--json")
    assert (code, findings(out)) == (0, [])
    # A window wider than the tile, and tiles without counts.
    code, out, _ = run(tmp_path / "tiles.yaml", "--tiles.microns", "100", "--json")
    assert (code, set(findings(out))) == (1, {("error", "tile-too-large")})
    code, out, _ = run(tmp_path / "tiles.yaml", "--data.root", files / "folder" / "test", "--json")
    assert (code, findings(out)) == (0, [("warning", "nothing-measured")])


@pytest.mark.data
@pytest.mark.slow
@pytest.mark.parametrize(
    ("recipe", "root", "expected"),
    [
        ("mob-mouse", "mob_st2k", []),
        ("muscle-blocks", "visium_mouse_muscle/Vis5A_2dpi", [("warning", "enlarged-tiles"), ("warning", "patient")]),
    ],
)
def test_real_tissue_has_no_errors(
    recipe: str, root: str, expected: list[tuple[str, str]], repository: Path, shared: Path, run: Run
) -> None:
    code, out, _ = run(repository / "configs" / f"{recipe}.yaml", "--data.root", shared / "data" / root, "--json")
    assert (code, findings(out)) == (0, expected)
