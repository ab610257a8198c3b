"""Runs joined to an ensemble: a folder that names them, and is used wherever a run is asked to predict."""

import hashlib
import json
import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal, final

from bleep import runs
from bleep.errors import ConfigError, DataError, MismatchError
from bleep.files import read_json, read_lines, write_json
from bleep.marks import KEY, MARK
from bleep.outputs import check_output
from bleep.predictors import Ensemble, Predictor, plain
from bleep.predictors.calibration import CombinedPredictor
from bleep.retrieval.reference import Reference
from bleep.runs import Run

FILE = runs.ENSEMBLE
"""Name inside the folder of an ensemble."""
OLD, OLD_MEMBER = {"version", "weighed", "members"}, {"run", "weights", "panel", "weight"}
"""What it held before it had a mark, and what each of its members."""
AGAIN = "with `bleep ensemble`, or a bag of folds with `bleep cv --bag`"
HowName = Literal["mean", "validation"]


@final
@dataclass(frozen=True, slots=True)
class Member:
    """A run of an ensemble."""

    folder: Path
    run: Run
    weight: float


def _alike(folders: Sequence[Path]) -> list[float]:
    return [1.0] * len(folders)


def _by_validation(folders: Sequence[Path]) -> list[float]:
    """Weigh each run by the best validation score of its log."""
    scores = []
    for folder in folders:
        lines = read_lines(folder / runs.LOG, "a line of JSON for each epoch")
        told = [float(line["val_score"]) for line in lines if "val_score" in line]
        found = [score for score in told if math.isfinite(score)]
        if not found:
            way = "optim.keep notes none:" if folder.resolve().parent.name == runs.EPOCHS else "train with data.val, or"
            raise ConfigError(f"{folder}: has no validation score to be weighed by; {way} use --weights mean")
        scores.append(max(0.0, max(found)))
    if not any(scores):
        raise ConfigError("no run has a validation score above 0 to be weighed by; use --weights mean")
    return scores


HOW: Mapping[HowName, Callable[[Sequence[Path]], list[float]]] = {"mean": _alike, "validation": _by_validation}
"""How members are weighed."""


def is_ensemble(folder: Path) -> bool:
    """Return whether a folder is an ensemble."""
    return (folder / FILE).exists()


def check_place(out: Path) -> None:
    """Refuse a folder for an ensemble that holds something else.

    Raises:
        DataError: see above.

    """
    if out.is_file() or (out.exists() and any(path.name != FILE for path in out.iterdir())):
        raise DataError(f"{out}: already holds something else; choose another --out")
    if not _is_unmarked(out / FILE):
        check_output(out / FILE, overwrite=None)


def _is_unmarked(path: Path) -> bool:
    """Return whether a file is an ensemble's of a version that left no mark: it holds just what those do."""
    try:
        tree = json.loads(path.read_text(encoding="utf-8"))
        return set(tree) == OLD and all(set(member) == OLD_MEMBER for member in tree["members"])
    except (OSError, ValueError, TypeError, RecursionError):
        return False


def save_ensemble(folders: Sequence[Path], out: Path, how: HowName = "mean", *, bagged: bool = False) -> list[float]:
    """Write an ensemble of these runs to `out`, and return the members' weights, which sum to 1.

    The folder names the runs by their place seen from it, with digests of their weights and panels. Where it is `bagged`, its
    runs were trained on different parts of the tissue, such as folds; no part of that tissue scores it.

    Raises:
        ConfigError: fewer than two runs are given, one is a copy of another, or has no validation score to be weighed by.
        DataError: a folder is no run, or `out` holds something else.
        MismatchError: the runs predict other genes, or were trained on other tissue.

    """
    if len(folders) < 2:
        raise ConfigError(f"an ensemble of {len(folders)} run was asked for: give two or more")
    twice = [folder for at, folder in enumerate(folders) if folder.resolve() in {other.resolve() for other in folders[:at]}]
    if twice:
        raise ConfigError(f"{twice[0]}: is named twice; name each run once, and weigh with --weights")
    check_place(out)
    loaded = [_run(folder) for folder in folders]
    for folder, run in zip(folders[1:], loaded[1:], strict=True):
        _check_same(folders[0], loaded[0], folder, run, bagged=bagged)
    seen: dict[str, Path] = {}
    for folder, run in zip(folders, loaded, strict=True):
        if (first := seen.setdefault(run.weights_digest(), folder)) != folder:
            raise ConfigError(f"{folder}: has the weights of {first}, of which it is a copy; name each run once")
    weights = HOW[how](folders)
    shares = [weight / sum(weights) for weight in weights]
    members = [
        {"run": Path(os.path.relpath(folder, out)).as_posix(), "weights": run.weights_digest(), "panel": run.panel.digest()}
        for folder, run in zip(folders, loaded, strict=True)
    ]
    noted = [{**member, "weight": share} for member, share in zip(members, shares, strict=True)]
    write_json(out / FILE, {KEY: MARK, "version": version("bleep-st"), "weighed": how, "members": noted})
    return shares


def members_of(folder: Path) -> list[Member]:
    """Read the runs of an ensemble.

    Raises:
        DataError: its file is damaged, or a run is not there.
        MismatchError: a run has changed since.

    """
    path = folder / FILE
    plain = read_json(path, "the runs of an ensemble")
    try:
        noted = [(str(one["run"]), one["weights"], one["panel"], float(one["weight"])) for one in plain["members"]]
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{path}: lacks or garbles {error}; make it again with `bleep ensemble`") from None
    members = []
    for place, weights, panel, weight in noted:
        run = _run(folder / place)
        if (run.weights_digest(), run.panel.digest()) != (weights, panel):
            raise MismatchError(f"{folder / place}: is not the run that {path} names; make it again {AGAIN}")
        members.append(Member(folder / place, run, weight))
    if not members:
        raise DataError(f"{path}: names no runs; make it again with `bleep ensemble`")
    return members


def ensemble_digest(
    folder: Path, members: Sequence[Member], predictors: Sequence[Predictor], references: Sequence[Reference | None]
) -> str:
    """Return a digest of all that decides what an ensemble predicts: its file, and each run's calibration, index and query."""
    digest = hashlib.sha256((folder / FILE).read_bytes())
    for member, predictor, reference in zip(members, predictors, references, strict=True):
        index = None if reference is None else reference.manifest
        decides = [predictor.name, fitted(predictor), index, member.run.config.query.model_dump(mode="json")]
        digest.update(json.dumps(decides, sort_keys=True, default=str).encode())
    return digest.hexdigest()


def fitted(predictor: Predictor) -> str | None:
    """Return a digest of what was fitted beyond a run's weights: its calibration, or the members of an ensemble."""
    predictor = plain(predictor)
    if isinstance(predictor, CombinedPredictor):
        return predictor.calibration.digest()
    return predictor.digest if isinstance(predictor, Ensemble) else None


def _run(folder: Path) -> Run:
    if is_ensemble(folder):
        raise DataError(f"{folder}: is an ensemble; name its runs instead")
    return Run.load(folder)


def _check_same(first_folder: Path, first: Run, folder: Path, run: Run, *, bagged: bool) -> None:
    differing: dict[str, tuple[Any, Any]] = {
        "genes": (first.panel.genes, run.panel.genes),
        "values": (first.panel.describe(), run.panel.describe()),
        "training tissue": ({s.digest for s in first.facts.train}, {s.digest for s in run.facts.train}),
    }
    if bagged:
        del differing["training tissue"]
    for what, (one, other) in differing.items():
        if one != other and bagged and what == "genes":
            raise MismatchError(
                f"{folder}: chose other genes than {first_folder}, so their predictions have no mean; bag with the same genes "
                "in every fold: panel.choice all, or list"
            )
        if one != other:
            raise MismatchError(
                f"{folder}: has other {what} than {first_folder}; an ensemble is of runs of the same genes and training tissue"
            )
