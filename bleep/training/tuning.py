"""A study: trials of settings, proposed by Optuna from the scores of earlier ones, kept in a database.

The trial a study proposes depends on the seed, its number and the trials before it alone. So a study that was stopped goes on
as if it had not been.
"""

import logging
import os
import platform
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, final

import numpy as np

from bleep.errors import ConfigError, DataError, MismatchError, WeightsError
from bleep.training.search_space import Among, Between, Space

try:
    import optuna
    from optuna.exceptions import DuplicatedStudyError, ExperimentalWarning, StorageInternalError
    from optuna.trial import FrozenTrial, TrialState
    from sqlalchemy.exc import SQLAlchemyError
except ModuleNotFoundError:
    raise DataError("tuning needs the extra tune: pip install -e '.[tune]' in bleep's clone") from None

log = logging.getLogger(__name__)

ENDS: dict[TrialState, Literal["done", "pruned", "failed"]] = {
    TrialState.COMPLETE: "done",
    TrialState.PRUNED: "pruned",
    TrialState.FAIL: "failed",
}
DATABASE = "the study's database"
RECIPE = "recipe"
"""Attribute of the trial of the recipe: its settings."""
UNTRIED = 5
"""Trials that must be done before one is stopped early for being worse than most."""


@final
@dataclass(frozen=True, slots=True)
class Tried:
    """A trial that has ended, and counts."""

    number: int
    state: Literal["done", "pruned", "failed"]
    """`pruned`: stopped early, being worse than most; `failed`: could not be trained."""
    score: float | None
    """Best validation score seen; none: failed before the first."""
    values: dict[str, Any]
    """The settings tried, by their dotted names; the first trial's are the recipe's."""
    log: list[dict[str, float | int]]
    """A line an epoch."""
    seconds: float
    why: str
    """Why it failed."""
    recipe: bool
    """Whether it is the trial of the recipe itself."""


@final
class Trial:
    """A trial while it goes on."""

    def __init__(self, inner: optuna.Trial, values: dict[str, Any]) -> None:
        self._inner, self.values = inner, values

    @property
    def number(self) -> int:
        """Its number in the study, from 0."""
        return self._inner.number

    def report(self, epoch: int, score: float) -> None:
        """Note the validation score of an epoch, and end the trial here when it is worse than most were at this point."""
        with _clear_errors(DATABASE):
            self._inner.report(score, epoch)
            worse = self._inner.should_prune()
        if worse:
            raise optuna.TrialPruned

    def note(self, lines: list[dict[str, float | int]]) -> None:
        """Keep the lines of the training's log with the trial."""
        with _clear_errors(DATABASE):
            self._inner.set_user_attr("log", lines)


@final
class Study:
    """Trials of one recipe and one search space; several processes may work on one database."""

    def __init__(self, inner: optuna.Study, space: Space, seed: int) -> None:
        self._inner, self.space, self.seed = inner, space, seed

    @classmethod
    def open(cls, storage: str, name: str, space: Space, facts: Mapping[str, Any], seed: int, patience: int) -> "Study":
        """Open or begin a study in a database, given as a URL; `facts` say what all of its trials share.

        No trial is stopped before it has done `patience` epochs.

        Raises:
            DataError: the database cannot be read or written.
            MismatchError: the study there is of other facts.

        """
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        with _clear_errors(storage):
            kept = _opened(storage)
            pruner = optuna.pruners.MedianPruner(n_startup_trials=UNTRIED, n_warmup_steps=patience)
            inner = optuna.create_study(storage=kept, study_name=name, direction="maximize", pruner=pruner, load_if_exists=True)
            if "facts" not in inner.user_attrs:
                inner.set_user_attr("facts", dict(facts))
            known = inner.user_attrs["facts"]
            for key, value in facts.items():
                # A setting that an older version did not have is at its default there.
                if key in known and known[key] != value:
                    raise MismatchError(
                        f"{storage}: the study {name} there began with {key} = {known.get(key)}, now it is {value}; "
                        "go on with the same settings, or choose another --out"
                    )
        study = cls(inner, space, seed)
        study._bury()
        return study

    def run(
        self,
        trials: int,
        objective: Callable[[Trial], float],
        after: Callable[[], None],
        recipe: Mapping[str, Any] | None = None,
    ) -> None:
        """Try settings until `trials` have ended in all; `after` is called when one has ended.

        The first trial is that of `recipe`, the settings one has already, also where they lie outside the space: what is
        recommended in the end is never worse than they are.

        A trial that raises ConfigError or WeightsError has failed, and the study goes on; it ends at any other error.

        Raises:
            DataError, MismatchError: what a trial raised.

        """
        while True:
            with _clear_errors(DATABASE):
                if len(self._counted()) >= trials:
                    return
                trial = self._ask(recipe)
                # Another process may have asked at the same moment: the trials with the lower numbers count.
                if sum(other.number < trial.number for other in self._counted()) >= trials:
                    self._inner.tell(trial.number, state=TrialState.FAIL)
                    return
            self._try(trial, objective)
            after()

    def tried(self) -> list[Tried]:
        """Return the trials that have ended, the best first, those that were stopped early or failed last."""
        found = [_tried(trial, self.space) for trial in self._counted() if trial.state in ENDS]
        order = list(ENDS.values())
        return sorted(found, key=lambda one: (order.index(one.state), -(one.score or 0.0), one.number))

    def ended(self) -> set[int]:
        """Return the numbers of all trials that do not go on anywhere, also of those that do not count."""
        return {trial.number for trial in self._inner.get_trials(deepcopy=False) if trial.state.is_finished()}

    def importances(self) -> dict[str, float]:
        """Return which share of the spread among good trials each setting accounts for, the largest first.

        They are those of PED-ANOVA (Watanabe et al., IJCAI 2023); empty when fewer than four trials are done.
        """
        done = [
            trial
            for trial in self._inner.get_trials(deepcopy=False)
            # The recipe's trial lacks what of it lies outside the space.
            if trial.state == TrialState.COMPLETE and set(trial.params) == set(self.space)
        ]
        if len(done) < 4 or len({trial.value for trial in done}) < 2:
            return {}
        with _quiet():
            warnings.simplefilter("ignore", UserWarning)  # few trials say little: the shares are printed all the same
            found = optuna.importance.get_param_importances(
                self._inner, evaluator=optuna.importance.PedAnovaImportanceEvaluator(), params=list(self.space)
            )
        return {name: float(share) for name, share in found.items() if np.isfinite(share)}

    def _counted(self) -> list[FrozenTrial]:
        """Return trials that go on, or ended by themselves; those whose process was stopped do not count."""
        trials = self._inner.get_trials(deepcopy=False)
        return [trial for trial in trials if trial.state != TrialState.FAIL or "why" in trial.user_attrs]

    def _ask(self, recipe: Mapping[str, Any] | None) -> Trial:
        inner = self._inner.ask()
        inner.set_user_attr("process", _process())
        seed = int(np.random.SeedSequence([self.seed, inner.number]).generate_state(1)[0])
        fixed: dict[str, Any] = {}
        if recipe is not None and self._is_due(inner.number):
            inner.set_user_attr(RECIPE, dict(recipe))
            fixed = {name: _label(rule, recipe[name]) for name, rule in self.space.items() if rule.holds(recipe[name])}
        with _quiet():
            sampler = optuna.samplers.TPESampler(seed=seed, multivariate=False, constant_liar=True)
            self._inner.sampler = optuna.samplers.PartialFixedSampler(fixed, sampler) if fixed else sampler
        if RECIPE not in inner.user_attrs:
            return Trial(inner, {name: _suggested(inner, name, rule) for name, rule in self.space.items()})
        for name in fixed:
            _suggested(inner, name, self.space[name])
        return Trial(inner, dict(recipe or {}))

    def _is_due(self, number: int) -> bool:
        """Return whether the recipe is still to be tried, and by the trial of this number."""
        others = [trial for trial in self._counted() if trial.number < number]
        return not any(RECIPE in trial.user_attrs or trial.state == TrialState.RUNNING for trial in others)

    def _try(self, trial: Trial, objective: Callable[[Trial], float]) -> None:
        try:
            score = objective(trial)
            if not np.isfinite(score):
                raise ConfigError(f"the validation score is {score}")
            self._tell(trial, TrialState.COMPLETE, score)
        except optuna.TrialPruned:
            self._tell(trial, TrialState.PRUNED)
        except (ConfigError, WeightsError) as error:
            log.warning("trial %d failed: %s", trial.number, error)
            with _clear_errors(DATABASE):
                trial._inner.set_user_attr("why", str(error))
            self._tell(trial, TrialState.FAIL)
        except BaseException:
            # Stopped from outside, or the data is at fault and not the settings: as if it had not been tried.
            self._tell(trial, TrialState.FAIL)
            raise

    def _tell(self, trial: Trial, state: TrialState, score: float | None = None) -> None:
        with _clear_errors(DATABASE):
            self._inner.tell(trial.number, score, state=state, skip_if_finished=True)

    def _bury(self) -> None:
        """End trials of processes of this machine that are no more; they do not count."""
        for trial in self._inner.get_trials(deepcopy=False):
            host, _, number = str(trial.user_attrs.get("process", "")).rpartition(":")
            if trial.state == TrialState.RUNNING and host == platform.node() and not _lives(int(number)):
                self._inner.tell(trial.number, state=TrialState.FAIL)


def _label(rule: Between | Among, value: Any) -> Any:
    """Return a value as the database holds it."""
    return rule.labels()[rule.choices.index(value)] if isinstance(rule, Among) else value


def _suggested(inner: optuna.Trial, name: str, rule: Between | Among) -> Any:
    if isinstance(rule, Among):
        labels = rule.labels()
        return rule.choices[labels.index(inner.suggest_categorical(name, labels))]
    if rule.whole:
        return inner.suggest_int(name, int(rule.low), int(rule.high), log=rule.log)
    return inner.suggest_float(name, rule.low, rule.high, log=rule.log)


def _tried(trial: FrozenTrial, space: Space) -> Tried:
    values = dict(trial.params)
    for name, rule in space.items():
        if isinstance(rule, Among) and name in values:
            values[name] = rule.choices[rule.labels().index(values[name])]
    scores = [score for score in trial.intermediate_values.values() if np.isfinite(score)]
    began, ended = trial.datetime_start, trial.datetime_complete
    return Tried(
        number=trial.number,
        state=ENDS[trial.state],
        score=trial.value if trial.state == TrialState.COMPLETE else max(scores, default=None),
        values=dict(trial.user_attrs.get(RECIPE, values)),
        log=list(trial.user_attrs.get("log", [])),
        seconds=(ended - began).total_seconds() if began and ended else 0.0,
        why=str(trial.user_attrs.get("why", "")),
        recipe=RECIPE in trial.user_attrs,
    )


def _process() -> str:
    return f"{platform.node()}:{os.getpid()}"


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


@contextmanager
def _quiet() -> Iterator[None]:
    """Leave out that parts of Optuna may still change."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        yield


def _opened(storage: str) -> optuna.storages.RDBStorage:
    """Open the database, and make its tables if there are none; of two processes that make them at once, one tries again."""
    waiting = {"connect_args": {"timeout": 60}} if storage.startswith("sqlite") else None
    for pause in (0.2, 0.5, 1.0):
        try:
            return optuna.storages.RDBStorage(storage, engine_kwargs=waiting)
        except (SQLAlchemyError, StorageInternalError):
            time.sleep(pause)
    return optuna.storages.RDBStorage(storage, engine_kwargs=waiting)


@contextmanager
def _clear_errors(storage: str) -> Iterator[None]:
    try:
        yield
    except (SQLAlchemyError, StorageInternalError, DuplicatedStudyError, KeyError, RuntimeError) as error:
        line = str(error.__cause__ or error).strip().splitlines()[0][:200]
        raise DataError(f"{storage}: cannot be used as the database of a study ({line}); choose another --storage") from None
