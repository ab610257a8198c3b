"""The contest's round trip by three commands: train, query, evaluate; and what is refused on the way."""

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
import pytest

from bleep.cli import app
from bleep.cli import training as train_command
from bleep.config import Config
from bleep.data.panel import GenePanel
from bleep.data.splits import split
from bleep.data.tiles import TileSpec
from bleep.marks import is_ours
from bleep.workflows.fit import fit
from bleep.workflows.tissue import load_split

SMALL = ("--image.trunk", "test_resnet", "--image.weights", "random", "--image.layer", "none", "--optim.batch", "32")


@pytest.fixture(scope="module")
def script(repository: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("contest_form", repository / "benchmarks/quality/contest_form.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def contest(script: ModuleType, toys: tuple[Any, ...], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Toy tissue in the contest's form: two sections train, two test, 20 genes corrected for batches; read it."""
    config = Config.load({"data": {"source": "toy", "split": "patient", "test": ["donor2"]}, "panel": {"size": 20}})
    divided = split(toys, config.data)
    out = tmp_path_factory.mktemp("contest") / "form"
    panel = GenePanel.fit(divided.train, config.panel)
    script.write(divided, panel, TileSpec(64, (64.0,)), out, corrected=True)
    # Toy genes are seen in every spot: let the least values of each be a little below 0.
    least = pd.read_csv(out / "train.csv")[list(panel.genes)].min() + 0.01
    for name in ("train.csv", "truth.csv"):
        table = pd.read_csv(out / name)
        table[list(panel.genes)] -= least
        table.to_csv(out / name, index=False)
    return out


def trained(contest: Path, repository: Path, out: Path, *more: str) -> Path:
    settings = ["--config", repository / "configs/contest.yaml", "--data.root", contest / "train.csv", "--out", out]
    settings += ["--tiles.pixels", "32", "--tiles.microns", "64", *SMALL, "--optim.epochs", "4", "--optim.lr", "0.01", *more]
    assert train_command.command([str(word) for word in settings]) == 0
    return out


@pytest.fixture(scope="module")
def run(contest: Path, repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "contest"
    return trained(contest, repository, out, "--cache", str(out.parent / "cache"))


def evaluate(contest: Path, submission: Path, *more: str) -> list[str]:
    tables = ["--submission", submission, "--truth", contest / "truth.csv", "--train", contest / "train.csv"]
    return [str(word) for word in ["evaluate", "--protocol", "dacon", *tables, "--top", "5", *more]]


def test_the_contests_score_of_validation_tiles_is_told_each_epoch(run: Path) -> None:
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    told = [line["val_contest"] for line in lines]
    assert len(told) == 4
    assert all(0.2 < score < 1 for score in told)
    assert told != [line["val_score"] for line in lines]


def test_the_form_is_that_of_the_contest(contest: Path) -> None:
    train, test, sample = (pd.read_csv(contest / f"{name}.csv") for name in ("train", "test", "sample_submission"))
    assert list(train.columns[:2]) == ["ID", "path"]
    assert train["path"].iloc[0] == "./train/TRAIN_0000.png"
    assert list(test.columns) == ["ID", "path"]
    assert list(sample.columns) == ["ID", *train.columns[2:]]
    assert train.iloc[:, 2:].min().max() < 0


def test_the_round_trip_works_by_three_commands(
    contest: Path, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert app.main(["query", "--run", str(run), "--images", str(contest / "test.csv"), "--out", "submission.csv"]) == 0
    sample, written = (path.read_bytes() for path in (contest / "sample_submission.csv", tmp_path / "submission.csv"))
    assert written.split(b"\n")[0] == sample.split(b"\n")[0]
    ids = [[line.split(b",")[0] for line in text.splitlines()] for text in (sample, written)]
    assert ids[0] == ids[1]
    assert "in the order of" in capsys.readouterr().out
    assert app.main(evaluate(contest, Path("submission.csv"), "--out", "scores")) == 0
    said, found = capsys.readouterr().out, json.loads(Path("scores/contest.json").read_text())
    assert is_ours(Path("scores/contest.json"))
    (score,) = found["scores"].values()
    parts = [score[name] for name in ("samples", "best_gene", "heg", "hvg")]
    assert score["score"] == pytest.approx(max(np.mean(parts), 0))
    assert score["samples"] > 0.5, "even the mean profile agrees with every sample"
    for words in ("HEG: the 5 genes of highest mean", "coefficient of variation", "r = 0", *(f"{part:.4f}" for part in parts)):
        assert words in said


def test_predictions_are_in_the_contests_values(contest: Path, run: Path) -> None:
    app.main(["query", "--run", str(run), "--images", str(contest / "test.csv"), "--out", "submission.csv"])
    truth, found = pd.read_csv(contest / "truth.csv"), pd.read_csv("submission.csv")
    mean, expected = found.iloc[:, 1:].mean(), truth.iloc[:, 1:].mean()
    assert np.corrcoef(mean, expected)[0, 1] > 0.8
    assert float((mean - expected).abs().mean()) < 0.5


def test_the_sample_decides_the_order(contest: Path, run: Path, tmp_path: Path) -> None:
    sample = pd.read_csv(contest / "sample_submission.csv")
    sample.iloc[::-1, [0, *range(12, 3, -1)]].to_csv(tmp_path / "mine.csv", index=False)
    for extra, out in (([], "all.csv"), (["--sample", "mine.csv"], "some.csv")):
        assert app.main(["query", "--run", str(run), "--images", str(contest / "test.csv"), "--out", out, *extra]) == 0
    every, some = pd.read_csv("all.csv").set_index("ID"), pd.read_csv("some.csv").set_index("ID")
    assert list(some.index) == list(sample["ID"][::-1])
    pd.testing.assert_frame_equal(some, every.loc[some.index, some.columns])


DAMAGES: dict[str, tuple[Callable[[pd.DataFrame], pd.DataFrame], str]] = {
    "shuffled": (lambda t: t.sample(frac=1, random_state=0), "its IDs stand in another order"),
    "incomplete": (lambda t: t.iloc[:-1], "lacks 1 of the"),
    "columns moved": (lambda t: t.iloc[:, [0, 2, 1, *range(3, t.shape[1])]], "its genes stand in another order"),
    "no number": (lambda t: t.replace(t.iloc[3, 4], np.nan), "has no number for gene"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_shuffled_or_incomplete_submission_is_refused(damage: str, contest: Path, fails: Any, tmp_path: Path) -> None:
    change, said = DAMAGES[damage]
    change(pd.read_csv(contest / "truth.csv")).to_csv(tmp_path / "bad.csv", index=False)
    fails(evaluate(contest, tmp_path / "bad.csv"), said, "bad.csv")


def test_a_query_of_other_tiles_than_the_samples_is_refused_before_it_predicts(
    contest: Path, run: Path, fails: Any, tmp_path: Path
) -> None:
    sample = pd.read_csv(contest / "sample_submission.csv")
    sample.iloc[3:].to_csv(tmp_path / "short.csv", index=False)
    query = ["query", "--run", run, "--images", contest / "test.csv", "--out", tmp_path / "out.csv", "--sample"]
    fails([*query, tmp_path / "short.csv"], "lacks 3 of the", "first 'TEST_0000'")
    sample.assign(other=0).to_csv(tmp_path / "more.csv", index=False)
    fails([*query, tmp_path / "more.csv"], "asks for 1 genes", "'other'")
    fails(
        [*query, contest / "sample_submission.csv", "--genes", "TOY01"], "--genes: a submission's genes are those of --sample"
    )


def test_what_a_submission_cannot_have_is_refused_and_not_passed_over(contest: Path, run: Path, fails: Any) -> None:
    query = ["query", "--run", run, "--images", contest / "test.csv", "--out", "out.csv"]
    fails([*query, "--report", "page.html"], "--report: ", "makes --out a submission", "--out a name ending in .h5ad")
    fails([*query, "--resume"], "--resume: ", "makes --out a submission")
    sample = ["--sample", contest / "sample_submission.csv"]
    fails([*query, *sample, "--report", "page.html"], "--report: ", "leave out --sample")


def test_a_sample_that_is_none_is_told_in_few_words(contest: Path, run: Path, fails: Any, tmp_path: Path) -> None:
    query = ["query", "--run", run, "--images", contest / "test.csv", "--out", "out.csv", "--sample"]
    fails([*query, "none.csv"], "none.csv: no such file; expected a sample submission")
    (tmp_path / "semicolons.csv").write_text(";".join(["ID", *(f"GENE{number}" for number in range(3000))]) + "\n")
    fails([*query, "semicolons.csv"], "begins with ID;GENE0;", "with commas between them")


def test_a_large_offset_changes_no_score(contest: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = pd.read_csv(contest / "truth.csv")
    table.iloc[:, 1:] = table.iloc[:, 1:] * 1e-3 + 1e5
    table.to_csv(tmp_path / "offset.csv", index=False)
    assert app.main(evaluate(contest, tmp_path / "offset.csv", "--out", str(tmp_path))) == 0
    (score,) = json.loads((tmp_path / "contest.json").read_text())["scores"].values()
    assert score["score"] == pytest.approx(1.0, abs=1e-6)


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--submission", "s.csv"], "belongs to the contest's protocol; add --protocol dacon"),
        (["--top", "3"], "--top: belongs to the contest's protocol"),
        (["--protocol", "dacon", "--submission", "s.csv"], "--truth: is missing"),
        (["--protocol", "dacon", "--submission", "s", "--truth", "t", "--train", "r", "--run", "x"], "not both at once"),
        (["--protocol", "dacon", "--top", "0"], "--top 0: expected"),
        (["--protocol", "dacon", "--report", "x.html"], "--report: protocol dacon has four parts"),
        (["--protocol", "dacon", "--genes-file", "x.txt"], "--genes-file: protocol dacon"),
        (["--protocol", "dacon", "--table", "x.csv"], "--table: protocol dacon"),
        (["--protocol", "dacon", "--predictors", "mine"], "--predictors: protocol dacon"),
        (["--protocol", "dacon", "--metrics", "mine"], "--metrics: protocol dacon"),
        (["--protocol", "dacon", "--paper"], "--paper: protocol dacon"),
        (["--protocol", "dacon", "--umap"], "--umap: protocol dacon"),
        (["--protocol", "dacon", "--submission", "s.csv", "--truth", "t.csv", "--train", "r.csv"], "s.csv: no such file"),
    ],
)
def test_flags_that_do_not_go_together_are_refused(flags: list[str], said: str, fails: Any) -> None:
    fails(["evaluate", *flags], said)


def test_a_run_with_held_out_tissue_is_scored_beside_its_floors(
    recipe: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for seed in (0, 1):
        tree = recipe(tmp_path / f"seed{seed}", {"loss": {"task": "regression"}, "optim": {"epochs": 1}, "seed": seed})
        fit(Config.load(tree))
    command = ["evaluate", "--protocol", "dacon", "--run", "seed0", "seed1", "--top", "5"]
    assert app.main(command) == 0
    said = capsys.readouterr().out
    for words in ("seed0 regression", "seed1 regression", "ridge", "mean", "leak: none", "training spots"):
        assert words in said
    found = json.loads(Path("seed0/contest.json").read_text())
    assert found["scores"]["mean"]["best_gene"] == 0
    assert found["scores"]["mean"]["samples"] > 0.3
    Path("other").mkdir()
    Path("seed1").rename("other/seed0")
    assert app.main([*command[:4], "seed0", "other/seed0", "--top", "5"]) == 0
    assert "other/seed0 regression" in capsys.readouterr().out


def test_a_run_that_held_nothing_out_is_scored_by_its_submission(run: Path, fails: Any) -> None:
    fails(["evaluate", "--protocol", "dacon", "--run", run], "nothing was held out")


def test_log1p_of_values_below_0_is_refused_in_one_sentence(contest: Path, repository: Path, fails: Any) -> None:
    settings = ["--data.root", contest / "train.csv", "--panel.normalise", "log1p", "--tiles.microns", "64", *SMALL]
    fails(["train", "--config", repository / "configs/contest.yaml", *settings], "negative values", "set it to none")


def test_a_training_table_of_the_contests_size_is_read_in_seconds(tmp_path: Path, contest: Path) -> None:
    import shutil
    import time

    from bleep.contest import ContestTable

    rows, genes = 250, 3467
    tile = next((contest / "train").iterdir())
    (tmp_path / "train").mkdir()
    values = np.random.default_rng(0).normal(0.5, 0.2, (rows, genes)).round(6)
    table = pd.DataFrame(values, columns=[f"AL{gene}.7" for gene in range(genes)])
    table.insert(0, "ID", [f"TRAIN_{row:04d}" for row in range(rows)])
    table.insert(1, "path", [f"./train/TRAIN_{row:04d}.png" for row in range(rows)])
    table.to_csv(tmp_path / "train.csv", index=False)
    for path in table["path"]:
        shutil.copy(tile, tmp_path / path)
    from bleep.data.readers import read_sections

    began = time.process_time()
    (section,) = read_sections(Config.load({"data": {"root": str(tmp_path / "train.csv")}}).data)
    assert section.counts.shape == (rows, genes)
    assert ContestTable.read(tmp_path / "train.csv").values.shape == (rows, genes)
    assert time.process_time() - began < 5


@pytest.mark.data
@pytest.mark.slow
def test_the_round_trip_works_on_real_tissue(
    script: ModuleType, shared: Path, repository: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = Config.load(
        repository / "configs/her2st-c.yaml",
        {"data": {"root": str(shared / "data/her2st"), "sections": ["C2", "C3"], "folds": 2}, "panel": {"size": 40}},
    )
    divided = load_split(config)
    panel = GenePanel.fit(divided.train, config.panel)
    form = tmp_path / "form"
    script.write(divided, panel, TileSpec(64, (154.56,)), form, corrected=True)
    run = trained(form, repository, tmp_path / "run", "--cache", "cache")
    assert app.main(["query", "--run", str(run), "--images", str(form / "test.csv"), "--out", "submission.csv"]) == 0
    header = (form / "sample_submission.csv").read_bytes().split(b"\n")[0]
    assert Path("submission.csv").read_bytes().startswith(header + b"\n")
    assert app.main(evaluate(form, Path("submission.csv"), "--out", "scores")) == 0
    (score,) = json.loads(Path("scores/contest.json").read_text())["scores"].values()
    assert 0.2 < score["score"] < 0.9
    pd.read_csv("submission.csv").iloc[::-1].to_csv("shuffled.csv", index=False)
    assert app.main(evaluate(form, Path("shuffled.csv"))) == 2
    assert "stand in another order" in capsys.readouterr().err
