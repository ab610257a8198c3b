"""A study proposes the same trials however often it is stopped, and counts what it says it counts."""

import multiprocessing
import os
import platform
from pathlib import Path
from typing import Any

import optuna
import pytest

from bleep.config import Config
from bleep.errors import ConfigError, DataError, MismatchError, WeightsError
from bleep.training.search_space import Among, Between, nested, read_space
from bleep.training.tuning import Study, Trial

SPACE = {"optim.lr": Between(1e-4, 1e-1, log=True, whole=False), "head.dim": Among((8, 16, 32))}


def study(folder: Path, seed: int = 0, patience: int = 0, **facts: Any) -> Study:
    return Study.open(f"sqlite:///{folder / 'study.db'}", "bleep", SPACE, facts, seed, patience)


def law(trial: Trial) -> float:
    return -abs(trial.values["optim.lr"] - 0.01) - trial.values["head.dim"] / 1000


def nothing() -> None:
    pass


def proposed(folder: Path, *trials: int, seed: int = 0) -> list[dict[str, Any]]:
    for count in trials:
        study(folder, seed).run(count, law, nothing)
    return [one.values for one in sorted(study(folder).tried(), key=lambda one: one.number)]


@pytest.fixture
def folders(tmp_path: Path) -> list[Path]:
    made = [tmp_path / name for name in ("one", "other", "third")]
    for folder in made:
        folder.mkdir()
    return made


def test_a_study_that_was_stopped_proposes_what_an_uninterrupted_one_does(folders: list[Path]) -> None:
    whole = proposed(folders[0], 14)
    assert whole == proposed(folders[1], 3, 12, 14)
    assert whole != proposed(folders[2], 14, seed=1)
    assert len({values["optim.lr"] for values in whole}) == 14


def test_later_trials_are_nearer_the_best_than_the_first(folders: list[Path]) -> None:
    scores = [law_of(values) for values in proposed(folders[0], 40)]
    assert sum(scores[-10:]) / 10 > sum(scores[:10]) / 10


def law_of(values: dict[str, Any]) -> float:
    return -abs(values["optim.lr"] - 0.01) - values["head.dim"] / 1000


def test_trials_are_counted_over_all_calls(tmp_path: Path) -> None:
    ended = []
    for _ in range(2):
        study(tmp_path).run(4, law, lambda: ended.append(1))
    assert len(ended) == len(study(tmp_path).tried()) == 4


def test_the_best_comes_first_and_failures_last(tmp_path: Path) -> None:
    def objective(trial: Trial) -> float:
        if trial.number == 1:
            raise ConfigError("the loss is nan in epoch 0")
        if trial.number == 2:
            raise WeightsError("no such weights")
        return float("nan") if trial.number == 3 else float(trial.number)

    study(tmp_path).run(6, objective, nothing)
    tried = study(tmp_path).tried()
    assert [one.number for one in tried] == [5, 4, 0, 1, 2, 3]
    assert [one.state for one in tried] == ["done"] * 3 + ["failed"] * 3
    assert [one.why for one in tried[3:]] == ["the loss is nan in epoch 0", "no such weights", "the validation score is nan"]
    assert tried[0].score == 5.0


def test_a_trial_worse_than_most_is_stopped_early_and_keeps_its_log(tmp_path: Path) -> None:
    epochs: dict[int, int] = {}

    def objective(trial: Trial) -> float:
        for epoch in range(10):
            epochs[trial.number] = epoch
            trial.note([{"epoch": float(seen)} for seen in range(epoch + 1)])
            trial.report(epoch, 0.1 if trial.number == 7 else 0.5 + trial.number / 100)
        return 0.5 + trial.number / 100

    study(tmp_path, patience=3).run(8, objective, nothing)
    last = study(tmp_path).tried()[-1]
    assert (last.number, last.state, last.score) == (7, "pruned", 0.1)
    assert epochs[7] == 3
    assert len(last.log) == 4
    assert set(epochs.values()) == {3, 9}


@pytest.mark.parametrize("error", [KeyboardInterrupt, DataError("gone"), ZeroDivisionError, RuntimeError("no memory")])
def test_a_trial_stopped_from_outside_ends_the_study_and_does_not_count(error: Any, tmp_path: Path) -> None:
    def objective(trial: Trial) -> float:
        if trial.number == 2:
            raise error
        return law(trial)

    # What a training raises is its own: the study's database is not at fault.
    with pytest.raises(type(error) if isinstance(error, Exception) else error):
        study(tmp_path).run(5, objective, nothing)
    assert len(study(tmp_path).tried()) == 2
    study(tmp_path).run(5, law, nothing)
    assert [one.number for one in sorted(study(tmp_path).tried(), key=lambda one: one.number)] == [0, 1, 3, 4, 5]


def test_a_trial_whose_process_was_killed_does_not_count(tmp_path: Path) -> None:
    process = multiprocessing.get_context("fork").Process(target=os._exit, args=(0,))
    process.start()
    process.join()
    begun = study(tmp_path)
    begun._inner.ask().set_user_attr("process", f"{platform.node()}:{process.pid}")
    assert begun.ended() == set()
    again = study(tmp_path)
    assert again.ended() == {0}
    again.run(2, law, nothing)
    assert {one.number for one in again.tried()} == {1, 2}


def test_a_trial_that_goes_on_elsewhere_counts(tmp_path: Path) -> None:
    study(tmp_path)._inner.ask().set_user_attr("process", f"{platform.node()}:{os.getpid()}")
    here = study(tmp_path)
    here.run(3, law, nothing)
    assert {one.number for one in here.tried()} == {1, 2}
    assert here.ended() == {1, 2}


def test_two_processes_that_ask_at_once_try_no_more_than_asked(tmp_path: Path) -> None:
    other = study(tmp_path)

    def objective(trial: Trial) -> float:
        if trial.number == 0:
            # While this trial goes on, another process ends the study.
            other.run(3, law, nothing)
        return law(trial)

    study(tmp_path).run(3, objective, nothing)
    assert len(other.tried()) == 3
    assert len({one.values["optim.lr"] for one in other.tried()}) == 3


def test_a_surplus_trial_does_not_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here, other = study(tmp_path), study(tmp_path)
    ask = Study._ask

    def late(self: Study, recipe: Any) -> Trial:
        monkeypatch.setattr(Study, "_ask", ask)
        other.run(2, law, nothing)
        return ask(self, recipe)

    monkeypatch.setattr(Study, "_ask", late)
    here.run(2, lambda _: pytest.fail("tried one too many"), nothing)
    assert {one.number for one in here.tried()} == {0, 1}
    assert here.ended() == {0, 1, 2}


def test_the_setting_that_decides_is_the_important_one(tmp_path: Path) -> None:
    assert study(tmp_path).importances() == {}
    study(tmp_path).run(25, lambda trial: -abs(trial.values["optim.lr"] - 0.01), nothing)
    shares = study(tmp_path).importances()
    assert next(iter(shares)) == "optim.lr"
    assert sum(shares.values()) == pytest.approx(1.0)


def test_a_study_of_something_else_is_refused(tmp_path: Path) -> None:
    study(tmp_path, lr=0.1).run(1, law, nothing)
    with pytest.raises(MismatchError, match=r"began with lr = 0.1, now it is 0.2; go on with the same settings"):
        study(tmp_path, lr=0.2)


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "study.db").write_text("this is not a database at all" * 100)
    with pytest.raises(DataError, match=r"study.db: cannot be used as the database of a study \(.*not a database"):
        study(tmp_path)


def test_optuna_says_nothing_but_warnings(tmp_path: Path) -> None:
    study(tmp_path)
    assert optuna.logging.get_verbosity() == optuna.logging.WARNING


def space_of(folder: Path, text: str) -> Any:
    (folder / "space.yaml").write_text(text)
    return read_space(folder / "space.yaml", Config.load({"image": {"standardize": "section"}}))


def test_values_of_a_space_are_of_the_settings_own_kind(tmp_path: Path) -> None:
    text = "optim.lr: {low: 1e-4, high: 1e-2, log: true}\nquery.k: {low: 5, high: 50}\noptim.chunk: {choices: [null, 8]}\n"
    space = space_of(
        tmp_path, text + "tiles.microns: {choices: [[100], [100, 2e2]]}\nloss.targets: {choices: [hard, inputs]}\n"
    )
    assert space["optim.lr"] == Between(1e-4, 1e-2, log=True, whole=False)
    assert space["query.k"] == Between(5, 50, log=False, whole=True)
    assert space["optim.chunk"] == Among((None, 8))
    assert space["tiles.microns"] == Among(([100.0], [100.0, 200.0]))
    assert Config.load(nested({name: rule.first() for name, rule in space.items()})).optim.lr == 1e-4


WRONG = {
    "": "names no setting to tune",
    "optim.lrr: {low: 1, high: 2}": "optim.lrr: unknown setting; did you mean optim.lr?",
    "colour: {low: 1, high: 2}": "colour: unknown setting",
    "optim: {lr: {low: 1, high: 2}}": "optim is a group of settings; expected dotted names such as optim.lr",
    "optim.lr: 0.1": "optim.lr: found 0.1; expected {low: .., high: ..}",
    "optim.lr: {}": "optim.lr: found nothing; expected {low",
    "optim.lr: {low: 0.1}": "optim.lr: found low; expected {low",
    "optim.lr: {low: 1, high: 2, step: 3}": "optim.lr: found low, high, step; expected",
    "optim.lr: {low: 0, high: 1}": "optim.lr: input should be greater than 0, but found 0",
    "optim.lr: {low: 0.2, high: 0.1}": "optim.lr: low is 0.2, which is not below high, 0.1",
    "optim.lr: {low: true, high: 2}": "optim.lr: low is True; expected a number",
    "optim.lr: {low: 1, high: .inf}": "optim.lr: input should be a finite number",
    "optim.lr: {low: 0.1, high: 0.2, log: 7}": "optim.lr: log is 7; expected true or false",
    "head.dropout: {low: 0, high: 0.5, log: true}": "head.dropout: low is 0.0, which has no logarithm",
    "head.dropout: {low: 0, high: 1.5}": "head.dropout: input should be less than 1, but found 1.5",
    "query.k: {low: 1.5, high: 7}": "query.k: input should be a valid integer",
    "optim.chunk: {low: null, high: 7}": "optim.chunk: low is None; expected a number",
    "loss.targets: {low: 1, high: 2}": "loss.targets takes hard | projected | inputs, which has no low and high",
    "loss.targets: {choices: hard}": "loss.targets: choices is 'hard'; expected a list",
    "loss.targets: {choices: []}": "loss.targets: choices is []; expected a list",
    "loss.targets: {choices: [hard, soft]}": "loss.targets: input should be 'hard', 'projected' or 'inputs', but found 'soft'",
    "optim.lr: {choices: [0.001, 1e-3]}": "optim.lr: 0.001 stands more than once",
    "image.train: {choices: [frozen, full]}": "image.standardize is section, which needs image.train frozen",
    "data.fold: {choices: [0, 1]}": "data.fold decides what is learnt from and scored on, so it is not tuned",
    "panel.size: {low: 10, high: 100}": "panel.size decides which genes are scored, so it is not tuned",
    "seed: {low: 0, high: 9}": "seed would be chosen by luck",
}


@pytest.mark.parametrize("text", WRONG)
def test_a_wrong_space_is_refused_in_one_sentence_that_names_file_and_setting(text: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        space_of(tmp_path, text)
    assert WRONG[text] in str(caught.value)
    assert str(caught.value).startswith(f"{tmp_path / 'space.yaml'}: ")
    assert "\n" not in str(caught.value)


def test_the_example_spaces_are_spaces(repository: Path) -> None:
    # Those for labels lie over recipes for labels: see test_label_recipes.py.
    spaces = [path for path in (repository / "configs" / "search").glob("*.yaml") if not path.stem.startswith("idc")]
    sizes = {path.stem: len(read_space(path, Config())) for path in spaces}
    assert sizes["heads"] >= 5
    assert sizes["rate"] == 3


def test_the_first_trial_is_the_recipe_even_where_it_lies_outside_the_space(folders: list[Path]) -> None:
    for folder, recipe in ((folders[0], {"optim.lr": 0.01, "head.dim": 16}), (folders[1], {"optim.lr": 0.5, "head.dim": 7})):
        for count in (1, 6):
            study(folder).run(count, law, nothing, recipe)
        tried = {one.number: one for one in study(folder).tried()}
        assert tried[0].values == recipe
        assert [one.recipe for one in sorted(tried.values(), key=lambda one: one.number)] == [True] + [False] * 5
        assert all(SPACE["optim.lr"].holds(one.values["optim.lr"]) for one in tried.values() if not one.recipe)
        assert set(study(folder).importances()) <= set(SPACE)


def test_a_recipe_whose_trial_was_stopped_is_tried_again_before_others_go_on(tmp_path: Path) -> None:
    def stopped(trial: Trial) -> float:
        raise KeyboardInterrupt

    recipe = {"optim.lr": 0.01, "head.dim": 16}
    with pytest.raises(KeyboardInterrupt):
        study(tmp_path).run(2, stopped, nothing, recipe)
    study(tmp_path).run(2, law, nothing, recipe)
    assert [one.values == recipe for one in study(tmp_path).tried()].count(True) == 1
    assert study(tmp_path).tried()[0].recipe
