"""Labels: read from patches, learnt, told by neighbours, scored by patient; and what is wrong with them in one sentence."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from sklearn import metrics as sk
from sklearn.linear_model import LogisticRegression

import bleep
from bleep.cli.app import main
from bleep.config import Config, DataConfig, ImageConfig, OptimConfig
from bleep.data.datasets import AffineJitter, moved
from bleep.data.labels import labelled
from bleep.data.readers import read_sections
from bleep.data.slides import PatchSlide, save_png
from bleep.errors import BleepError, ConfigError, DataError, MismatchError
from bleep.evaluation import labels as scoring
from bleep.marks import is_ours
from bleep.models.factory import build_trunk
from bleep.models.heads import PrincipalAxes
from bleep.models.losses import class_weights, label_loss
from bleep.predictors.classifier import ClassifierPredictor, fit_logistic
from bleep.predictors.saliency import occlusion
from bleep.records import Batch
from bleep.registry import Origin
from bleep.retrieval.reference import Reference
from bleep.runs import Run
from bleep.viz.figures.labels import confusions, roc
from bleep.workflows.calibrate import calibrate
from bleep.workflows.data import check
from bleep.workflows.figures import label_page
from bleep.workflows.fit import fit
from bleep.workflows.init import as_yaml, plan
from bleep.workflows.labels import RETRIEVAL, evaluate_labels, label_markdown, label_text
from bleep.workflows.labels import _check_same as check_same_labels
from bleep.workflows.query import open_tiles
from bleep.workflows.tissue import load_split

SIDE = 16
Make = Callable[..., Path]


def draw_patches(root: Path, patients: int = 4, each: int = 12, classes: tuple[str, ...] = ("0", "1")) -> Path:
    """Write patches in the published form: the last class is darker; one patch is cut at the slide's edge."""
    draw = np.random.default_rng(0)
    for patient in range(patients):
        for at in range(each):
            label = classes[at % len(classes)]
            folder = root / f"p{patient}" / label
            folder.mkdir(parents=True, exist_ok=True)
            dark = 90 * (label == classes[-1])
            height = SIDE if at else SIDE // 2
            pixels = draw.integers(120 - dark, 220 - dark, (height, SIDE, 3), dtype=np.uint8)
            x, y = 1 + SIDE * (at % 4), 1 + SIDE * (at // 4)
            save_png(pixels, folder / f"p{patient}_idx5_x{x}_y{y}_class{label}.png")
    return root


@pytest.fixture(scope="module")
def patches(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_patches(tmp_path_factory.mktemp("patches"))


def settings(root: Path, out: Path, **over: dict[str, Any]) -> Config:
    tree: dict[str, Any] = {
        "data": {"source": "patches", "root": str(root), "split": "patient", "test": ["p3"]},
        "tiles": {"pixels": 32, "microns": [float(SIDE)]},
        "image": {"trunk": "test_resnet", "weights": "random"},
        "loss": {"task": "classify"},
        "optim": {"epochs": 4, "batch": 16, "lr": 0.01},
        "query": {"k": 5},
        "out": str(out),
        "cache": str(out.parent / "cache"),
    }
    return Config.load(tree, over)


@pytest.fixture(scope="module")
def run_folder(patches: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "labels"
    longer = {"epochs": 40, "batch": 16, "lr": 0.01}
    # What a GPU wrote into the cache and what a CPU computes are alike to the last digits in float32 alone.
    image = {"context": [20.0, 40.0], "precision": "float32"}
    fit(settings(patches, out, image=image, head={"hidden": 8, "components": 4}, optim=longer))
    assert main(["index", "build", "--run", str(out)]) == 0
    return out


def test_runs_of_other_networks_or_losses_are_no_seeds_of_one_another(run_folder: Path) -> None:
    """What settings do not say: the network and the loss that were given, and what a network does."""
    first = Run.load(run_folder)
    config = first.config.model_copy(update={"seed": 1})
    for words, facts in {
        "has trunk = mine.Net, but the first run has test_resnet": {"trunk": "given:mine.Net"},
        "has the losses .* = own of here, but": {"parts": (Origin("losses", "given:own", "here"),)},
    }.items():
        with pytest.raises(MismatchError, match=words):
            check_same_labels(replace(first, config=config, facts=replace(first.facts, **facts)), [first], run_folder)  # type: ignore[arg-type]
    noted = {"trunk": "given:mine.Net", "fingerprint": (0.5, 1.0)}
    one = replace(first, facts=replace(first.facts, **noted))  # type: ignore[arg-type]
    other = replace(one, config=config, facts=replace(one.facts, fingerprint=(1.5, -1.0)))
    check_same_labels(replace(other, facts=one.facts), [one], run_folder)
    with pytest.raises(MismatchError, match="has a frozen trunk of other weights or code than the first run"):
        check_same_labels(other, [one], run_folder)


def test_a_classifier_is_not_calibrated_as_if_it_foretold_expression(run_folder: Path) -> None:
    with pytest.raises(ConfigError, match="tells classes, and calibrating joins predictions of expression; `bleep evaluate"):
        calibrate(run_folder)
    assert not (run_folder / "calibration").exists()


def test_a_classifier_is_not_scored_as_if_it_foretold_expression(run_folder: Path) -> None:
    with pytest.raises(ConfigError, match="tells classes, whose scores are not those of expression; `bleep evaluate --run"):
        bleep.evaluate([run_folder])
    opened = bleep.load(run_folder)
    scales = {name: one.predict(opened.tiles(opened.split.test)).scale for name, one in opened.predictors().items()}
    assert scales == dict.fromkeys(("classifier", "retrieval"), "probability of each class")


def test_patches_laid_by_x_and_y_give_the_slide_back(patches: Path) -> None:
    section = read_sections(DataConfig(source="patches", root=patches, sections=("slide-p1",)))[0]
    assert isinstance(section.slide, PatchSlide)
    whole, whole_tile = section.slide.region(1, 1, 3 * SIDE, "white"), section.slide.region(1 + SIDE, 1, SIDE, "edge")
    np.testing.assert_array_equal(whole[:SIDE, SIDE : 2 * SIDE], whole_tile)
    assert (whole[SIDE // 2 : SIDE, :SIDE] == 255).all()  # below the cut patch lies glass
    assert (section.name, section.patient) == ("slide-p1", "p1")
    assert sorted(section.counts.obs["label"].unique()) == ["0", "1"]
    assert section.slide.thumbnail(1000).shape == (section.slide.size[1], section.slide.size[0], 3)


def test_every_form_of_labelled_patches_gives_the_same_labels(patches: Path, tmp_path: Path) -> None:
    found = read_sections(DataConfig(source="patches", root=patches))
    counts = pd.concat([section.counts.obs["label"] for section in found]).value_counts().to_dict()
    paths = sorted(patches.rglob("*.png"))
    rows = [[str(path), path.parent.name, path.parents[1].name] for path in paths]
    pd.DataFrame(rows, columns=["path", "label", "patient"]).to_csv(tmp_path / "list.csv", index=False)
    listed = read_sections(DataConfig(source="patches", root=tmp_path / "list.csv"))
    assert pd.concat([section.counts.obs["label"] for section in listed]).value_counts().to_dict() == counts
    assert [section.patient for section in listed] == [section.patient for section in found]
    whole = [path for path in paths if "x1_y1" not in path.name]
    arrays = tmp_path / "arrays"
    arrays.mkdir()
    first = found[0].slide.region(1 + SIDE, 1, SIDE, "white")
    np.save(arrays / "X.npy", np.stack([first] * len(whole)))
    np.save(arrays / "Y.npy", np.array([int(path.parent.name) for path in whole]))
    section = read_sections(DataConfig(source="patches", root=arrays))[0]
    assert len(section) == len(whole)
    x, y = section.xy[7]
    np.testing.assert_array_equal(section.slide.region(round(x - SIDE / 2), round(y - SIDE / 2), SIDE, "white"), first)


def test_names_of_breakhis_give_patient_and_class(tmp_path: Path) -> None:
    for folder, name in (("benign", "SOB_B_A-14-22549AB-200-001"), ("malignant", "SOB_M_DC-14-16601-200-004")):
        (tmp_path / folder).mkdir()
        save_png(np.full((46, 70, 3), 90, np.uint8), tmp_path / folder / f"{name}.png")
    found = read_sections(DataConfig(source="patches", root=tmp_path))
    assert {section.patient: section.counts.obs["label"].iloc[0] for section in found} == {
        "14-22549AB": "benign",
        "14-16601": "malignant",
    }


@pytest.mark.parametrize("word", ["None", "NA", "nan", "null", "N/A"])
def test_a_class_or_a_patient_may_be_called_what_pandas_takes_for_missing(word: str, tmp_path: Path) -> None:
    for name in "abc":
        save_png(np.full((SIDE, SIDE, 3), 90 + ord(name), np.uint8), tmp_path / f"{name}.png")
    (tmp_path / "t.csv").write_text(f"path,label,patient\na.png,{word},{word}\nb.png,IDC,{word}\nc.png,,{word}\n")
    (section,) = read_sections(DataConfig(source="patches", root=tmp_path / "t.csv"))
    assert (list(section.counts.obs["label"]), section.patient) == ([word, "IDC", ""], word)


def _broken(kind: str, root: Path) -> dict[str, Any]:
    """Return the settings under which something is wrong with these patches."""
    first = sorted(root.rglob("*.png"))[0]
    if kind == "50 x 1":
        save_png(np.zeros((1, SIDE, 3), np.uint8), first)
    elif kind == "no image":
        first.write_bytes(b"nothing")
    elif kind == "name and folder":
        first.rename(first.parents[1] / "1" / first.name)
    elif kind == "one place":
        (first.parent / first.name.replace("idx5", "idx6")).write_bytes(first.read_bytes())
    elif kind == "no places":
        first.rename(first.with_name("plain.png"))
    elif kind == "one class":
        for path in root.rglob("*class1.png"):
            path.unlink()
    elif kind == "class of the test alone":
        (root / "p3" / "2").mkdir()
        save_png(np.zeros((SIDE, SIDE, 3), np.uint8), root / "p3" / "2" / "p3_idx5_x65_y65_class2.png")
    elif kind in ARRAYS:
        x, y = ARRAYS[kind]
        for name, array in (("X", x), ("Y", y)):
            if array is not None:
                np.save(root / f"{name}.npy", array, allow_pickle=True)
    elif kind in TABLES:
        (root / "list.csv").write_text(TABLES[kind])
        return {"root": str(root / "list.csv")}
    elif kind == "empty":
        return {"root": str(root / "p1" / "none")}
    return {}


PLAIN = np.zeros((3, SIDE, SIDE, 3), np.uint8)
ARRAYS = {
    "lengths": (PLAIN, np.zeros(2, int)),
    "objects": (PLAIN, np.array([{}, 1, 2], dtype=object)),
    "floats": (PLAIN.astype(float), np.zeros(3, int)),
    "no classes": (PLAIN, None),
    "table of classes": (PLAIN, np.zeros((3, 2), int)),
}
TABLES = {
    "label missing": "path,label\np0/0/a.png,\n",
    "no label column": "path\na.png\n",
    "picture missing": "path,label,patient\nnowhere.png,1,p\n",
    "path twice": "path,label\na.png,1\na.png,0\n",
    "patient missing": "path,label,patient\na.png,1,\n",
}
KINDS = (
    "50 x 1", "no image", "name and folder", "one place", "no places", "one class", "class of the test alone", *ARRAYS, *TABLES,
)  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_bad_patches_are_one_sentence_and_nothing_is_written(
    kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from bleep.cli.training import command

    root = draw_patches(tmp_path / "data", each=4)
    if kind == "label missing":
        (root / "p0/0/a.png").write_bytes(sorted(root.rglob("*.png"))[1].read_bytes())
    changed = _broken(kind, root)
    config = settings(root, tmp_path / "run").dump()
    config["data"] |= changed
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(config))
    assert command(["--config", str(tmp_path / "c.yaml")]) == 2
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("bleep: ")]
    assert len(said) == 1
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "over",
    [
        {"panel": {"scale": "zscore"}},
        {"image": {"context": [100.0], "train": "full"}},
        {"image": {"freeze": 2}},
        {"image": {"freeze": 900, "train": "full"}},
        {"head": {"components": 4096}},
        {"head": {"components": 4}, "image": {"standardize": "none"}},
        {"image": {"trunk": "small/cancernet", "weights": "hub"}},
        {"image": {"trunk": "small/nothing"}},
        {"data": {"label": "grade"}},
    ],
)
def test_settings_that_contradict_labels_are_refused(over: dict[str, Any], patches: Path, tmp_path: Path) -> None:
    with pytest.raises(BleepError):
        fit(settings(patches, tmp_path / "run", **over))
    assert not (tmp_path / "run").exists()


def test_a_spot_without_a_label_is_named(patches: Path) -> None:
    section = read_sections(DataConfig(source="patches", root=patches))[0]
    section.counts.obs.loc[section.counts.obs_names[2], "label"] = None
    with pytest.raises(DataError, match=section.counts.obs_names[2]):
        labelled((section,), "label")


def test_a_class_that_the_run_does_not_know_is_refused_at_query(run_folder: Path, tmp_path: Path) -> None:
    root = draw_patches(tmp_path, patients=1, classes=("0", "7"))
    with pytest.raises(MismatchError, match="'7'"):
        open_tiles(root, Run.load(run_folder))


def _form(kind: str, root: Path) -> tuple[Path, set[str]]:
    """Write the same twelve patches in one form; return where they are, and the labels that a query shall find."""
    draw, root = np.random.default_rng(3), root / kind
    arrays = draw.integers(40, 220, (12, SIDE, SIDE, 3), dtype=np.uint8)
    root.mkdir()
    if kind.startswith("arrays"):
        np.save(root / "X.npy", arrays)
        if kind == "arrays":
            np.save(root / "Y.npy", np.arange(12) % 2)
        return (root / "X.npy", {""}) if kind == "arrays without classes" else (root, {"0", "1"})
    named = {
        "idc": "{p}/{c}/{p}_idx5_x{x}_y1_class{c}.png", "breakhis": "{w}/SOB_{k}_A-14-{p}-200-{x}.png",
        "breakhis as handed out": "{w}/SOB/adenosis/SOB_{k}_A_14-{p}/200X/SOB_{k}_A-14-{p}-200-{x}.png",
        "folders": "{p}/{c}/{x}.png", "other folders": "images/{p}/{x}.png",
    }  # fmt: skip
    rows = []
    for at in range(12):
        words = {"c": at % 2, "p": f"p{at // 6}", "x": 1 + SIDE * at, "w": ("benign", "malignant")[at % 2], "k": "BM"[at % 2]}
        path = root / named.get(kind, "{x}.png").format(**words)
        path.parent.mkdir(parents=True, exist_ok=True)
        save_png(arrays[at], path)
        rows.append([path.relative_to(root), at % 2])
    if not kind.startswith("table"):
        return root, {"0", "1"} if kind in ("idc", "folders") else {""}
    table = pd.DataFrame(rows, columns=["path", "label"])
    (table[["path"]] if kind == "table of paths" else table).to_csv(root / "t.csv", index=False)
    return root / "t.csv", {""} if kind == "table of paths" else {"0", "1"}


FORMS = (
    "idc", "breakhis", "breakhis as handed out", "folders", "other folders", "table", "table of paths", "arrays",
    "arrays without classes",
)  # fmt: skip


@pytest.mark.parametrize("kind", FORMS)
def test_every_form_of_patches_can_be_queried_and_needs_no_labels(kind: str, run_folder: Path, tmp_path: Path) -> None:
    place, labels = _form(kind, tmp_path)
    tiles = open_tiles(place, Run.load(run_folder))
    assert len(tiles) == 12
    assert {label for section in tiles.sections for label in section.counts.obs["label"]} == labels


def test_one_patch_can_be_queried(run_folder: Path, tmp_path: Path) -> None:
    place, _ = _form("idc", tmp_path)
    assert len(open_tiles(sorted(place.rglob("*.png"))[0], Run.load(run_folder))) == 1


@pytest.mark.parametrize("kind", ["idc", "breakhis", "breakhis as handed out", "table", "arrays"])
def test_init_knows_patches_and_writes_a_recipe_that_is_read_back(kind: str, tmp_path: Path) -> None:
    place, _ = _form(kind, tmp_path)
    made = plan(place, {})
    config = Config.load(yaml.safe_load(as_yaml(made)))
    assert (config.data.source, config.loss.task, config.tiles.microns) == ("patches", "classify", (float(SIDE),))
    assert config.data.split == ("patient" if len(made.sections) > 1 else "none")
    assert len(load_split(config).train) > 0


def test_a_table_of_patches_needs_no_patients(tmp_path: Path) -> None:
    place, _ = _form("table", tmp_path)
    (section,) = read_sections(DataConfig(source="patches", root=place))
    # As where arrays do not say whom they are from.
    assert (section.name, section.patient, len(section)) == ("t", "t", 12)


CONTRADICTIONS = {
    "name and folder, class": ("p0/1/p0_idx5_x1_y1_class0.png", None, "its name says class 0, its folder 1"),
    "name and folder, patient": ("p1/0/p0_idx5_x1_y1_class0.png", None, "its name says patient p0, its folder p1"),
    "name and folder of BreakHis": (
        "malignant/SOB_B_A-14-p0-200-1.png", None, "its name says class benign, its folder malignant",
    ),
    "name and table, class": ("p0/0/p0_idx5_x1_y1_class0.png", ("1", "p0"), "its name says class 0, t.csv 1"),
    "name and table, patient": ("p0/0/p0_idx5_x1_y1_class0.png", ("0", "p1"), "its name says patient p0, t.csv p1"),
    "folder and table, class": ("p0/0/a.png", ("1", "p0"), "its folder says class 0, t.csv 1"),
    "folder and table, patient": ("p1/0/a.png", ("0", "p0"), "its folder says patient p1, t.csv p0"),
}  # fmt: skip


@pytest.mark.parametrize("kind", CONTRADICTIONS)
def test_name_folder_and_table_must_agree(kind: str, tmp_path: Path) -> None:
    odd, told, words = CONTRADICTIONS[kind]
    plain, rows = Path(odd).stem == "a", []
    for patient in ("p0", "p1"):
        for label in "01":
            name = f"{patient}_{label}" if plain else f"{patient}_idx5_x1_y{1 + SIDE * (1 + int(label))}_class{label}"
            rows.append([f"{patient}/{label}/{name}.png", label, patient])
    rows.append([odd, *(told or ("0", "p0"))])
    for path, *_ in rows:
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        save_png(np.full((SIDE, SIDE, 3), 90, np.uint8), tmp_path / path)
    pd.DataFrame(rows, columns=["path", "label", "patient"]).to_csv(tmp_path / "t.csv", index=False)
    with pytest.raises(DataError, match=words):
        read_sections(DataConfig(source="patches", root=tmp_path / "t.csv" if told else tmp_path))
    # Without the odd one all agree.
    pd.DataFrame(rows[:-1], columns=["path", "label", "patient"]).to_csv(tmp_path / "t.csv", index=False)
    (tmp_path / odd).unlink()
    assert len(read_sections(DataConfig(source="patches", root=tmp_path / "t.csv" if told else tmp_path))) == 2


def test_folders_and_tables_with_other_words_contradict_nobody(tmp_path: Path) -> None:
    rows = []
    for patient in "01":
        for label in "01":
            path = f"train/{label}/{patient}_idx5_x1_y{1 + SIDE * int(label)}_class{label}.png"
            (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
            save_png(np.full((SIDE, SIDE, 3), 90, np.uint8), tmp_path / path)
            rows.append([path, ("healthy", "tumour")[int(label)], f"case {patient}"])
    assert [one.patient for one in read_sections(DataConfig(source="patches", root=tmp_path))] == ["0", "1"]
    pd.DataFrame(rows, columns=["path", "label", "patient"]).to_csv(tmp_path / "t.csv", index=False)
    found = read_sections(DataConfig(source="patches", root=tmp_path / "t.csv"))
    assert [(one.patient, list(one.counts.obs["label"])) for one in found] == [
        ("case 0", ["healthy", "tumour"]), ("case 1", ["healthy", "tumour"]),
    ]  # fmt: skip


def _faulty(kind: str, root: Path) -> Path:
    """Write forty patches of four patients with one fault."""
    draw = np.random.default_rng(4)
    arrays, rows = draw.integers(40, 220, (40, SIDE, SIDE, 3), dtype=np.uint8), []
    if "copies" in kind:
        within, glass = "within" in kind, "glass" in kind
        arrays[[1, 2, 3] if within else [12, 22]] = 255 if glass else arrays[0]
    labels = [at % 2 for at in range(40)]
    if kind == "one class a patient":
        labels[:10] = [0] * 10
    elif kind == "rare":
        labels = [int(at in (3, 13, 23)) for at in range(40)]
    elif kind == "one class":
        labels = [1] * 40
    if kind.endswith("arrays"):
        root.mkdir()
        np.save(root / "X.npy", arrays)
        np.save(root / "Y.npy", np.array(labels))
        return root
    for at in range(40):
        path = root / f"{at}.png"
        path.parent.mkdir(exist_ok=True)
        save_png(arrays[at], path)
        said = "" if kind == "no labels" or (kind == "some labels" and at == 7) else labels[at]
        rows.append([path.name, said, f"p{at // 10}"])
    pd.DataFrame(rows, columns=["path", "label", "patient"]).to_csv(root / "t.csv", index=False)
    return root / "t.csv"


FAULTS = {
    "none": {}, "copies of glass": {},
    "one class a patient": {"one-class-patients": "1 of 4 patients have spots of one label only (p0: 0)"},
    "rare": {
        "rare-class": "label '1' has 3 of 40 spots (8%; 0 37, 1 3)",
        "one-class-patients": "1 of 4 patients have spots of one label only (p3: 0)",
    },
    "one class": {"one-class": "all labelled spots have label '1'"},
    "no labels": {"no-labels": "not one of 40 spots has a label"},
    "some labels": {"no-labels": "1 of 40 spots have no label"},
    "copies in several patients": {"same-tissue": "1 patch is the same picture in several patients (10% of one"},
    "copies within one": {"repeated-patches": "3 of 10 patches are the same picture"},
    "copies within arrays": {"repeated-patches": "3 of 40 patches are the same picture"},
}  # fmt: skip


@pytest.mark.parametrize("kind", FAULTS)
def test_a_check_of_patches_says_what_is_wrong_with_them(kind: str, tmp_path: Path) -> None:
    root = _faulty(kind, tmp_path / "in")
    split = {"split": "none", "test": []} if kind.endswith("arrays") else {"test": ["p3"]}
    found = {finding.kind: finding.message for finding in check(settings(root, tmp_path / "run", data=split)).findings}
    # Noise shows no tissue, and forty patches are few.
    found = {
        name: said for name, said in found.items() if name not in ("few-spots", "blurred-tiles", "patient", "leak", "stain")
    }
    assert found.keys() == FAULTS[kind].keys(), found
    assert all(words in found[name] for name, words in FAULTS[kind].items()), found


def test_a_split_by_random_patches_is_said_to_leak(patches: Path, tmp_path: Path) -> None:
    assert load_split(settings(patches, tmp_path, data={"split": "random", "test": []})).leak.status == "random spots"
    assert load_split(settings(patches, tmp_path)).leak.status == "none"


def test_the_table_holds_floors_and_retrieval_and_a_darker_class_is_learnt(run_folder: Path) -> None:
    table = evaluate_labels([run_folder])
    assert {
        "classifier",
        RETRIEVAL,
        "logistic regression",
        "logistic regression on colour",
        "image-kNN",
        "majority class",
    } == set(table.rows.index)
    assert table.rows.loc["classifier", "auc"] > 0.9
    assert table.rows.loc["logistic regression on colour", "auc"] > 0.9
    assert table.rows.loc["majority class", "balanced_accuracy"] == 0.5
    assert set(table.patients["patient"]) == {"p3"}


def test_the_commands_tell_labels_and_their_neighbours(run_folder: Path, patches: Path, tmp_path: Path) -> None:
    assert main(["evaluate", "--run", str(run_folder), "--out", str(tmp_path)]) == 0
    saved = json.loads((tmp_path / "evaluation.json").read_text())
    assert saved["classes"] == ["0", "1"]
    told = pd.read_csv(tmp_path / "evaluation.csv")
    assert len(told) == 12 * 6
    assert all(is_ours(tmp_path / f"evaluation.{end}") for end in ("json", "md", "csv"))
    out = tmp_path / "q.csv"
    assert main(["query", "--run", str(run_folder), "--images", str(patches), "--out", str(out)]) == 0
    plain = pd.read_csv(out, dtype={"label": str})
    assert (plain["label"] == np.where(plain["1"] > plain["0"], "1", "0")).all()
    assert main(["query", "--run", str(run_folder), "--images", str(patches), "--k", "3", "--out", str(out)]) == 0
    voted, near = pd.read_csv(out, dtype={"label": str}), pd.read_csv(out.with_suffix(".neighbours.csv"))
    assert len(near) == 3 * len(voted)
    # A neighbour's own label, from its name, and the weights give the votes again.
    near["one"] = near["spot"].str.endswith("class1")
    share = (near["weight"] * near["one"]).groupby(near["tile"]).sum()
    np.testing.assert_allclose(voted["1"], share[voted["section"] + "/" + voted["spot"]].to_numpy(), atol=1e-6)
    assert main(["evaluate", "--run", str(run_folder), "--all-scores"]) == 2


def test_labelled_tiles_are_added_to_the_index_of_a_classifier(
    run_folder: Path, patches: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, root = tmp_path / "run", draw_patches(tmp_path / "more", patients=5)
    shutil.copytree(run_folder, run)
    for gone in ("p0", "p1", "p2", "p3", "p4/0"):  # of one class alone
        shutil.rmtree(root / gone)
    assert main(["index", "add", "--run", str(run), "--images", str(root)]) == 0
    grown, before = Reference.load(run / "reference"), Reference.load(run_folder / "reference")
    np.testing.assert_array_equal(grown.expression.rows(np.arange(len(before), len(grown))), np.tile([0.0, 1.0], (6, 1)))
    assert main(["evaluate", "--run", str(run), "--out", str(tmp_path / "scores")]) == 0
    capsys.readouterr()
    assert main(["index", "add", "--run", str(run), "--images", str(draw_patches(tmp_path / "odd", classes=("0", "7")))]) == 2
    assert "holds class '7', but the run knows 0, 1" in capsys.readouterr().err
    assert main(["index", "add", "--run", str(run), "--images", str(patches / "p3")]) == 2
    assert "is held out by the run" in capsys.readouterr().err


def test_a_tile_that_is_hidden_in_part_keeps_its_surroundings(run_folder: Path, patches: Path) -> None:
    run = Run.load(run_folder)
    tiles = open_tiles(patches, run)
    found = occlusion(ClassifierPredictor(run), tiles, 17)
    np.testing.assert_allclose(found.whole, ClassifierPredictor(run).predict(tiles).expression[17], atol=1e-5)
    assert np.isfinite(found.change).all()


def test_runs_that_hold_out_other_slides_by_name_are_drawn_together(patches: Path, tmp_path: Path) -> None:
    for name in ("p2", "p3"):
        fit(settings(patches, tmp_path / name, data={"test": [name]}, optim={"epochs": 1, "batch": 16, "lr": 0.01}))
    table = evaluate_labels([tmp_path / "p2", tmp_path / "p3"])
    assert [view.section for view in label_page(table).views] == ["slide-p2", "slide-p3"]


def test_floors_are_scored_on_the_same_tiles_as_runs_that_swap_what_validates_and_tests(patches: Path, tmp_path: Path) -> None:
    for name in ("p0", "p1"):
        held = {"test": [name], "val": "group"}
        fit(settings(patches, tmp_path / name, data=held, optim={"epochs": 1, "batch": 16, "lr": 0.01}))
    table = evaluate_labels([tmp_path / "p0", tmp_path / "p1"])
    assert {str(name): len(table.pooled(str(name)).truth) for name in table.rows.index} == dict.fromkeys(table.rows.index, 24)


@pytest.mark.parametrize("flags", [["--min-confidence", "high"], ["--abstain"], ["--predictor", "combined"]])
def test_nobody_is_sent_to_calibrate_a_classifier(
    flags: list[str], run_folder: Path, patches: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["query", "--images", str(patches), "--run", str(run_folder), "--out", str(tmp_path / "q.csv")]
    assert main([*words, *flags]) == 2
    assert "bleep calibrate" not in capsys.readouterr().err


def test_figures_and_sentences_say_nothing_of_classes_that_no_tile_has(run_folder: Path) -> None:
    truth, classes = np.eye(3, dtype=np.float32)[[0, 1, 1, 0]], ("a", "b", "c")
    said = np.array([[0.8, 0.2, 0], [0.3, 0.6, 0.1], [0.7, 0.2, 0.1], [0.6, 0.3, 0.1]], np.float32)
    counted = scoring.confusion(said.argmax(axis=1), truth)
    assert (
        confusions({"classifier": counted}, classes).finding == "classifier finds 50% of class b, the class found least often"
    )
    (axes,) = roc({"classifier": (said, truth)}, classes).figure.axes
    assert [line.get_label().split(",")[0] for line in axes.lines] == ["a", "b", "chance"]
    one = {"classifier": (said[:1, :2], truth[:1, :2])}
    assert roc(one, classes[:2]).finding == "There is no ROC curve, as all test tiles are of one class"
    alone = scoring.confusion(np.array([0]), truth[:1, :2])
    assert confusions({"classifier": alone}, classes[:2]).finding == "classifier finds 100% of class a, of which all tiles are"
    table = evaluate_labels([run_folder])
    rows = table.rows.assign(auc=np.nan, auc_low=np.nan)
    bare = replace(table, rows=rows)
    assert "no AUC, as all test tiles are of one class" in label_text(bare)
    assert "| classifier | no value |" in label_markdown(bare)


def test_figures_and_a_page_of_labels_are_drawn(run_folder: Path, tmp_path: Path) -> None:
    page, drawn = tmp_path / "labels.html", tmp_path / "figures"
    asked = ["--report", str(page), "--figures", str(drawn), "--heat-maps", "2", "--out", str(tmp_path)]
    assert main(["evaluate", "--run", str(run_folder), *asked]) == 0
    names = {path.stem for path in drawn.glob("*.png")}
    assert names == {"roc", "calibration", "confusion", "slide_slide-p3", "attention"}
    readme = (drawn / "README.md").read_text()
    auc = json.loads((tmp_path / "evaluation.json").read_text())["predictors"]["classifier"]["auc"]
    assert f"ROC curve of classifier is {auc:.3f}" in readme
    shown = page.read_text()
    assert "of patients that training did not see" in shown
    assert all(name in shown for name in ("label retrieval", "slide-p3", "probability of each class"))
    assert ">Classes<" in shown
    assert ">Genes<" not in shown
    assert main(["evaluate", "--run", str(run_folder), "--genes", "ERBB2", "--out", str(tmp_path)]) == 2


def test_a_query_of_labels_speaks_of_classes(
    run_folder: Path, patches: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ["--images", str(patches), "--out", str(tmp_path / "q.csv"), "--report", str(tmp_path / "q.html")]
    assert main(["query", "--run", str(run_folder), *asked]) == 0
    assert "2 classes by classifier, probability of each class" in capsys.readouterr().out
    shown = (tmp_path / "q.html").read_text()
    assert all(words in shown for words in ("Predicted labels of", " 2 classes, by classifier", "All 2 classes can be shown"))
    assert ">Genes<" not in shown


def test_classes_whose_names_hold_commas_are_asked_for_in_quotes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = draw_patches(tmp_path / "patches", each=4, classes=("benign", "grade 2, mixed"))
    fit(settings(root, tmp_path / "run", optim={"epochs": 1, "batch": 16, "lr": 0.01}))
    query = ["query", "--run", str(tmp_path / "run"), "--images", str(root), "--out", str(tmp_path / "q.csv"), "--genes"]
    assert main([*query, "grade 2, mixed"]) == 2
    said = 'panel of 2 classes has no \'grade 2\'; it has "benign", "grade 2, mixed"\n'
    assert said in capsys.readouterr().err
    assert main([*query, '"grade 2, mixed, benign']) == 2
    assert "double quotes around one that holds a comma" in capsys.readouterr().err
    assert main([*query, '"grade 2, mixed", benign']) == 0
    assert list(pd.read_csv(tmp_path / "q.csv").columns[-2:]) == ["grade 2, mixed", "benign"]


@pytest.mark.parametrize("asked", [["--umap", "--figures", "f"], ["--metrics", "none"], ["--table", "t.csv"], ["--all-floors"]])
def test_what_is_of_expression_is_refused_for_labels(
    asked: list[str], run_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["evaluate", "--run", str(run_folder), "--out", "out", *asked]) == 2
    assert f"{asked[0]}: is of expression" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_scores_are_those_of_scikit_learn() -> None:
    draw = np.random.default_rng(1)
    own = draw.random(200) < 0.3
    p = np.round(np.clip(own * 0.3 + draw.random(200) * 0.7, 0, 1), 2)
    probability, truth = np.stack([1 - p, p], axis=1), np.stack([~own, own], axis=1).astype(np.float32)
    told = scoring.decided(probability, 0.4)
    found = scoring.scores(probability, truth, told)
    expected = {
        "auc": sk.roc_auc_score(own, p),
        "average_precision": sk.average_precision_score(own, p),
        "accuracy": sk.accuracy_score(own, told),
        "balanced_accuracy": sk.balanced_accuracy_score(own, told),
        "f1": sk.f1_score(own, told),
        "precision": sk.precision_score(own, told),
        "recall": sk.recall_score(own, told),
        "macro_f1": sk.f1_score(own, told, average="macro"),
    }
    for name, value in expected.items():
        assert found[name] == pytest.approx(value), name
    curve = scoring.roc_curve(p, own)
    assert np.trapezoid(curve[:, 1], curve[:, 0]) == pytest.approx(expected["auc"])
    np.testing.assert_array_equal(scoring.confusion(told, truth), sk.confusion_matrix(own, told))


def test_a_class_that_is_neither_there_nor_told_costs_nothing() -> None:
    """Perfect answers of tissue without the third of four classes score 1; what is told wrongly counts as in scikit-learn."""
    own, draw = np.array([0, 1, 3, 3, 1, 0, 0]), np.random.default_rng(0)
    truth = np.eye(4, dtype=np.float32)[own]
    perfect = scoring.scores(truth, truth, own)
    assert {perfect[name] for name in ("f1", "macro_f1", "precision", "recall", "balanced_accuracy", "auc")} == {1.0}
    probability = draw.dirichlet(np.ones(4), len(own))
    for told in (np.where(own == 3, 1, own), np.where(np.arange(7) == 2, 2, own)):
        found, seen = scoring.scores(probability, truth, told), np.unique([own, told])
        assert found["macro_f1"] == pytest.approx(sk.f1_score(own, told, average="macro"))
        precision = sk.precision_score(own, told, average="macro", labels=seen, zero_division=0)
        assert found["precision"] == pytest.approx(precision)
        assert found["auc"] == pytest.approx(np.mean([sk.roc_auc_score(own == one, probability[:, one]) for one in (0, 1, 3)]))
    none = scoring.scores(truth[:1, :2], truth[:1, :2], own[:1])
    assert np.isnan([none["f1"], none["precision"], none["recall"]]).all()


def test_logistic_regression_is_that_of_scikit_learn() -> None:
    draw = np.random.default_rng(2)
    features = draw.normal(size=(300, 8)).astype(np.float32)
    own = (features @ draw.normal(size=8) + draw.normal(size=300)) > 0
    truth = np.stack([~own, own], axis=1).astype(np.float32)
    ours = fit_logistic(features, truth, np.arange(300), penalties=(10.0,))
    standard = (features - ours.mean) / ours.spread
    # Two columns of weights share the penalty, so that of one is twice as strong.
    theirs = LogisticRegression(C=2 / 10.0, tol=1e-8).fit(standard, own).predict_proba(standard)
    np.testing.assert_allclose(ours.predict(features), theirs, atol=2e-3)


def test_losses_of_labels_are_torchs_where_torch_has_them() -> None:
    torch.manual_seed(0)
    logits, number = torch.randn(20, 3), torch.randint(3, (20,))
    label = torch.nn.functional.one_hot(number, 3).float()
    ours = label_loss(logits, label, torch.ones(3), 0.1)
    torch.testing.assert_close(ours, torch.nn.functional.cross_entropy(logits, number, label_smoothing=0.1))
    share = torch.tensor([0.5, 0.3, 0.2])
    assert torch.allclose(class_weights(1.0, share) * share, torch.full((3,), 1 / 3))
    assert torch.equal(class_weights(0.0, share), torch.ones(3))
    # Under the focal loss a spot that is told well counts less.
    sure = torch.tensor([[4.0, 0.0, 0.0], [0.5, 0.0, 0.0]])
    truth = torch.tensor([[1.0, 0.0, 0.0], [1.0, 0.0, 0.0]])
    plain = [label_loss(sure[at : at + 1], truth[at : at + 1], torch.ones(3)) for at in (0, 1)]
    focal = [label_loss(sure[at : at + 1], truth[at : at + 1], torch.ones(3), focal=2.0) for at in (0, 1)]
    assert focal[0] / plain[0] < 0.01 * focal[1] / plain[1]
    # Its slope is a number where a class is certain, and none where a spot has no label, for exponents below 1 too.
    certain = torch.tensor([[40.0, 0.0, 0.0], [0.5, 0.0, 0.0]], requires_grad=True)
    label_loss(certain, torch.tensor([[1.0, 0.0, 0.0], [0.0, 0.0, 0.0]]), torch.ones(3), focal=0.5).backward()
    assert certain.grad is not None
    assert torch.isfinite(certain.grad).all()
    assert (certain.grad[1] == 0).all()


def test_principal_axes_whiten_the_training_tiles() -> None:
    torch.manual_seed(0)
    own = torch.randn(400, 6) @ torch.randn(6, 6)
    features = torch.cat([own, 0.5 * own.roll(1, 0)], dim=1)
    features = (features - features.mean(0)) / features.std(0, correction=0)
    axes = PrincipalAxes(6, 2, 3)
    axes.fit(features)
    seen = axes(features)
    assert seen.shape == (400, 6)
    torch.testing.assert_close(seen.std(0, correction=0), torch.ones(6), atol=1e-4, rtol=0)
    torch.testing.assert_close((seen[:, :3].T @ seen[:, :3] / 400), torch.eye(3), atol=1e-4, rtol=0)


def test_augmentation_moves_tiles_by_the_seed_and_the_identity_changes_nothing() -> None:
    tiles = torch.randint(0, 255, (4, 2, 3, 12, 12), dtype=torch.uint8)
    torch.testing.assert_close(moved(tiles, torch.tensor([[1.0, 0, 0], [0, 1, 0]]).expand(4, 2, 3)), tiles)
    batch = Batch(tiles, torch.zeros(4, 2), torch.arange(4))
    jitter = AffineJitter.of(OptimConfig(rotate=20, shift=0.2, shear=0.2, zoom=0.2), 3, 4)
    assert jitter is not None
    assert torch.equal(jitter(batch, 1).inputs, jitter(batch, 1).inputs)
    assert not torch.equal(jitter(batch, 1).inputs, jitter(batch, 2).inputs)
    assert AffineJitter.of(OptimConfig(), 3, 4) is None
    # A shift alone, of half the side, brings the right half to the left.
    shifted = moved(tiles, torch.tensor([[1.0, 0, 1.0], [0, 1, 0]]).expand(4, 2, 3))
    assert torch.equal(shifted[..., :6], tiles[..., 6:])


@pytest.mark.parametrize("name", ["cancernet", "cancernet-k2", "cancernet-k5", "cancernet-32-64", "vgg5"])
def test_small_nets_halve_a_patch_block_by_block(name: str) -> None:
    trunk, resolved = build_trunk(ImageConfig(trunk=f"small/{name}", weights="random", train="full"), 50)
    blocks = {"cancernet-32-64": 2, "vgg5": 5}.get(name, 3)
    assert resolved == f"small/{name}"
    assert trunk.width == {2: 64, 3: 128, 5: 256}[blocks] * (50 // 2**blocks) ** 2
    with pytest.raises(ConfigError, match="halves"):
        build_trunk(ImageConfig(trunk=f"small/{name}", weights="random"), 3)


def test_batch_norm_of_a_small_net_never_lets_the_validation_loss_run_away(patches: Path, tmp_path: Path) -> None:
    config = settings(
        patches,
        tmp_path / "first",
        image={"trunk": "small/cancernet-32-64", "train": "full", "standardize": "none"},
        head={"hidden": 8, "layers": "dense-norm", "dropout": 0.2},
        optim={"name": "sgd", "momentum": 0.9, "lr": 0.05, "trunk_lr": 0.05, "epochs": 6, "rotate": 20.0, "shift": 0.1},
    )
    run = fit(config)
    shown = torch.randint(0, 255, (8, 1, 3, 32, 32), dtype=torch.uint8).to(run.device)
    said = run.model.predict_features(run.model.trunk(shown))
    assert torch.isfinite(said).all()
    assert evaluate_labels([tmp_path / "first"]).rows.loc["classifier", "auc"] > 0.9
    # Its trunk is the start of another run, the first two layers of which stay as they are.
    changes = config.dump() | {"out": str(tmp_path / "second")}
    changes["image"] |= {"weights": str(tmp_path / "first"), "freeze": 2}
    second = fit(Config.load(changes))
    before, after = run.model.trunk.state_dict(), second.model.trunk.state_dict()
    layers = [name for name, _ in run.model.trunk.named_parameters()]
    assert torch.equal(before[layers[0]], after[layers[0]])
    assert not torch.equal(before[layers[-1]], after[layers[-1]])
    changes["image"] |= {"trunk": "small/vgg5"}
    with pytest.raises(BleepError, match="does not fit"):
        fit(Config.load(changes | {"out": str(tmp_path / "third")}))


def test_folds_of_labels_are_scored_as_labels_and_their_bag_is_not_scored_as_expression(
    patches: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bleep.evaluation.labels.OFF", -1.0)  # These folds are of equal shares, of which nothing is said.
    config = settings(patches, tmp_path / "cv", data={"test": [], "folds": 2}, panel={"choice": "all"})
    (tmp_path / "own.yaml").write_text(yaml.safe_dump(config.dump()))
    assert main(["cv", "--config", str(tmp_path / "own.yaml"), "--bag"]) == 0
    said = capsys.readouterr().out
    assert "classes: 0, 1" in said
    assert "PCC" not in said
    record = json.loads((tmp_path / "cv" / "evaluation.json").read_text())
    assert "majority class 0.500" in record["facts"]["each fold"]
    assert "each fold: " in said
    folds = [str(tmp_path / "cv" / f"fold{fold}") for fold in (0, 1)]
    assert main(["evaluate", "--run", *folds]) == 0
    assert json.loads((Path(folds[0]) / "evaluation.json").read_text())["predictors"] == record["predictors"]
    capsys.readouterr()
    assert main(["evaluate", "--run", str(tmp_path / "cv" / "bag")]) == 2
    assert "joins runs that learnt labels" in capsys.readouterr().err


def test_the_score_of_a_classifier_is_called_what_it_is(
    patches: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    config = settings(patches, tmp_path / "run", data={"val": "group"}, optim={"epochs": 1, "batch": 16})
    (tmp_path / "own.yaml").write_text(yaml.safe_dump(config.dump()))
    (tmp_path / "space.yaml").write_text("loss.class_weights: {choices: [0.0, 1.0]}")
    asked = ["tune", "--config", "own.yaml", "--space", "space.yaml", "--trials", "1", "--out", "tuned", "--keep-all"]
    assert main(asked) == 0
    said = capsys.readouterr()
    assert "score: best ROC area, mean over classes, on validation tissue" in said.out
    assert "validation score, a ROC area" in said.err
    assert "correlation" not in said.out + said.err
    axes = bleep.pl.training("tuned/trials/0000", "val_score")
    assert axes.get_ylabel() == "validation score\n(ROC AUC)"


def test_a_class_that_a_fold_lacks_is_told_before_the_first_is_trained(
    patches: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [
        (path, "0" if path.parents[1].name in ("p0", "p1") else path.parent.name, path.parents[1].name)
        for path in sorted(patches.rglob("*.png"))
    ]
    for row, (path, _, _) in enumerate(rows):
        shutil.copy(path, tmp_path / f"{row}.png")
    table = pd.DataFrame(
        [(f"{row}.png", label, who) for row, (_, label, who) in enumerate(rows)], columns=["path", "label", "patient"]
    )
    table.to_csv(tmp_path / "t.csv", index=False)
    config = settings(
        tmp_path / "t.csv",
        tmp_path / "cv",
        data={"test": [], "split": "section", "sections": ["slide-p0", "slide-p1", "slide-p2"], "folds": 3},
    )
    (tmp_path / "own.yaml").write_text(yaml.safe_dump(config.dump()))
    assert main(["cv", "--config", str(tmp_path / "own.yaml")]) == 2
    assert "all training spots are of class '0'" in capsys.readouterr().err
    assert not (tmp_path / "cv").exists()
