"""The folder that a training writes to: what may be there, what goes on, and what is removed."""

import contextlib
import shutil
from pathlib import Path

from bleep import runs
from bleep.config import Config
from bleep.data.facts import relabelled
from bleep.errors import DataError, MismatchError
from bleep.files import read_json, sweep
from bleep.find import MANIFEST
from bleep.models.backbones import GIVEN
from bleep.models.fingerprint import alike
from bleep.models.own import called
from bleep.predictors.calibration import FOLDER as CALIBRATION
from bleep.retrieval.reference import storage
from bleep.runs import Run
from bleep.training.checkpoint import PROJECT, of_tracker
from bleep.training.own_losses import same_losses
from bleep.workflows import inputs_of

AGAIN = "resume with the same, or start anew with --overwrite (overwrite=True)"

OF_SCORES = ("evaluation.json", "evaluation.md", "genes.csv", "contest.json")
"""Files in a run's folder that say how its weights scored."""


FILES = (runs.MODEL, *OF_SCORES, runs.LOG, runs.PANEL, runs.BATCH)
FOLDERS = (runs.STATE, runs.REFERENCE, runs.EPOCHS, CALIBRATION)
"""What is removed of an earlier run, in this order."""
REMOVED = (*FILES, *FOLDERS)


def check_place(config: Config, *, resume: bool, overwrite: bool) -> None:
    """Refuse a folder that is no place for this training.

    Raises:
        DataError: it holds files, and neither `resume` nor `overwrite` fits them.
        MismatchError: what is to be resumed began with other settings.

    """
    out = config.out
    if out.exists() and not out.is_dir():
        raise DataError(f"{out}: is a file; expected a folder for the run: choose another --out")
    # A process killed while it wrote leaves names with .part in them; they say nothing.
    found = {path.name for path in out.iterdir() if ".part" not in path.name} if out.exists() else set()
    found -= {runs.LOCK}
    if found == {PROJECT} and all(map(of_tracker, (out / PROJECT).rglob("*"))):
        return  # killed between the first words to a tracker and the plan
    begun = {runs.CONFIG, runs.PANEL, runs.BATCH, runs.FACTS}
    if (out / runs.LOG).is_file() and not (out / runs.LOG).stat().st_size:
        begun |= {runs.LOG, PROJECT}  # no epoch was whole, whatever a tracker was told
    if not found or (found <= begun and runs.FACTS in found and is_run(out)):
        return
    if resume:
        if runs.CONFIG not in found:
            raise DataError(
                f"{out}: has no {runs.CONFIG}, so no training to go on with; leave --resume out, or choose another --out"
            )
        kept = Config.load(runs.BEFORE, out / runs.CONFIG)
        # Who reads changes nothing that is learnt, nor does how regions lie where none are shared.
        unread = {"optim.workers"} | ({"image.region", "image.halo"} if config.image.sharing == "none" else set())
        for key, old, new in differences(kept.dump(), config.dump()):
            if key in unread or (new == "auto" and key in ("image.precision", "image.sharing")):
                continue
            raise MismatchError(
                f"{out}: training there began with {key} = {old}, now it is {new}; resume with the same settings"
            )
    elif overwrite:
        if not is_run(out):
            raise DataError(f"{out}: holds files but no run; --overwrite only replaces runs: choose another --out")
        check_reads(config)
    else:
        raise DataError(
            f"{out}: already holds files; add --resume to go on, --overwrite to start anew, or choose another --out"
        )


def clear(out: Path) -> None:
    """Remove an earlier run, its weights first, and nothing else that may be in its folder.

    Settings and facts stay until they are replaced: whoever is killed before leaves what --overwrite still knows to be a run.
    """
    try:
        for name in FILES:
            (out / name).unlink(missing_ok=True)
        with contextlib.ExitStack() as stack:
            if (out / runs.REFERENCE / MANIFEST).exists():
                stack.enter_context(storage.locked(out / runs.REFERENCE))
            for name in FOLDERS:
                if (out / name).exists():
                    shutil.rmtree(out / name)
    except OSError as error:
        raise DataError(f"{out}: the run there cannot be removed ({error.strerror}); choose another --out") from None
    sweep(out)


def check_reads(config: Config) -> None:
    """Refuse to remove with an earlier run what this training reads.

    Raises:
        DataError: see above.

    """
    gone = [(config.out / name).resolve() for name in REMOVED]
    for path in inputs_of(config):
        place = path.resolve()
        if place == config.out.resolve() or any(place == name or name in place.parents for name in gone):
            raise DataError(f"{path}: is read by this training, and --overwrite would remove it; choose another --out")


def is_run(folder: Path) -> bool:
    """Return whether a folder is a run's, begun or finished."""
    try:
        runs.Facts.from_dict(read_json(folder / runs.FACTS, "the run's facts"))
    except DataError:
        return False
    return True


def check_same_kind(out: Path, *, given: bool) -> None:
    """Refuse to go on with or without a network given in Python where it was the other way, before any trunk is built.

    Raises:
        MismatchError: see above.

    """
    if not (out / runs.FACTS).exists():
        return
    trunk = runs.Facts.from_dict(read_json(out / runs.FACTS, "the run's facts")).trunk
    if trunk.startswith(GIVEN) != given:
        now = "one is given" if given else "none is given: resume there by bleep.fit(config, resume=True, trunk=...)"
        raise MismatchError(f"{out}: training there began with trunk {called(trunk)}, and now {now}; {AGAIN}")


def check_same_parts(out: Path, run: Run) -> None:
    """Refuse to go on with a training that began on another trunk, or by another loss, than settings can say.

    Raises:
        MismatchError: see above.

    """
    if not (out / runs.FACTS).exists():
        return
    began = runs.Facts.from_dict(read_json(out / runs.FACTS, "the run's facts"))
    for key, old, new in differences(parts_rule(began), parts_rule(run.facts)):
        raise MismatchError(f"{out}: training there began with {key} = {old}, now it is {new}; {AGAIN}")
    if not run.model.trunk.learns and not same_behaviour(began, run.facts):
        name = began.trunk.removeprefix(GIVEN)
        raise MismatchError(
            f"{out}: training there began with a trunk {name} of other weights or other code than now, since it gives other "
            f"features of the same picture; {AGAIN}"
        )
    if not same_losses(began.losses, run.facts.losses):
        raise MismatchError(
            f"{out}: training there began with {losses_spoken(began)} of other code than now, since it gives other numbers for "
            f"the same step; {AGAIN}"
        )


def parts_rule(facts: runs.Facts) -> dict[str, str]:
    """Return what a run's settings do not say: its trunk and losses, the package or module of each, and where it was kept."""
    words = {"trunk": facts.trunk.removeprefix(GIVEN)}
    words["the epochs of the training that optim.keep kept it in"] = str(facts.of_epochs or "none")
    kinds = {"losses": "the losses from Python and packages", "trunks": "the trunks of packages"}
    for kind, word in kinds.items():
        found = sorted((part.name.removeprefix(GIVEN), part.package) for part in facts.parts if part.kind == kind)
        words[word] = ", ".join(f"{name} of {package}" for name, package in found) or "none"
    return words


def same_frozen(one: Run, other: Run) -> bool:
    """Return whether the frozen trunks of two runs do the same, as far as is noted, but for weights that the seed has drawn."""
    drawn = other.config.image.weights == "random" and not other.facts.trunk.startswith(GIVEN)
    return drawn or other.model.trunk.learns or same_behaviour(one.facts, other.facts)


def same_behaviour(one: runs.Facts, other: runs.Facts) -> bool:
    """Return whether two runs' own trunks do the same, as far as is noted of both."""
    return not one.fingerprint or not other.fingerprint or alike(one.fingerprint, other.fingerprint)


def losses_spoken(facts: runs.Facts) -> str:
    """Return how sentences name the losses of a run that are not bleep's own."""
    return "the loss " + " or ".join(part.name.removeprefix(GIVEN) for part in facts.parts if part.kind == "losses")


def check_same_data(out: Path, run: Run) -> None:
    """Refuse to go on with a training that began on other tissue.

    Raises:
        MismatchError: see above, or with other labels to be learnt.

    """
    if not (out / runs.FACTS).exists():
        return
    began = runs.Facts.from_dict(read_json(out / runs.FACTS, "the run's facts"))
    if (began.train, began.val) != (run.facts.train, run.facts.val):
        raise MismatchError(f"{out}: training there began on other files than data.root holds now; start anew with --overwrite")
    name = relabelled((*began.train, *began.val), (*run.facts.train, *run.facts.val))
    if name is not None:
        raise MismatchError(
            f"{out}: training there began with other labels of section {name} than its column {run.config.data.label} holds "
            "now; restore them, or start anew with --overwrite"
        )


def differences(old: object, new: object, at: str = "") -> list[tuple[str, object, object]]:
    """Return (dotted name, old value, new value) of every leaf that differs between two trees."""
    if isinstance(old, dict) and isinstance(new, dict):
        keys = dict.fromkeys((*new, *old))
        return [found for key in keys for found in differences(old.get(key), new.get(key), f"{at}.{key}".lstrip("."))]
    return [] if old == new else [(at, old, new)]
