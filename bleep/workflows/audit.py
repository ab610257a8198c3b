"""What of a run was fitted on which sections, and whether test tissue took part in it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bleep.data.splits import Split
from bleep.errors import DataError
from bleep.evaluation import leakage
from bleep.files import read_json
from bleep.models.backbones import GIVEN, textures
from bleep.records import Fitted, LeakFinding, LeakReport
from bleep.retrieval.embed import tile_features
from bleep.retrieval.reference import Reference
from bleep.runs import Run

CALIBRATION = "calibration"
"""Folder of a run that holds what was fitted on predictions of left-out training sections."""


def audit(run: Run, divided: Split, reference: Reference | None, folder: Path) -> LeakReport:
    """Report what of a run was fitted on which sections, and whether test tissue took part in it.

    Panel and scaling are fitted anew on the training sections and compared, and so is what the features of a frozen trunk
    are standardised by, so that a name alone cannot hide a leak.
    """
    names = tuple(section.name for section in divided.train)
    fitted = [Fitted("panel", run.panel.sections), Fitted("scaling", run.panel.sections)]
    found = list(leakage.of_panel(run.panel, run.config.panel, divided))
    if run.panel.batch is not None:
        fitted.append(Fitted("batch correction", run.panel.sections, run.panel.batch.kind))
        found += leakage.of_spots("batch correction", run.panel.batch.ids, divided)
    fitted += _features(run, names)
    found += _standardiser(run, divided)
    fitted.append(Fitted("heads", tuple(facts.name for facts in run.facts.train)))
    if run.facts.val:
        fitted.append(Fitted("epoch", tuple(facts.name for facts in run.facts.val), "chosen by the score on validation tissue"))
    if run.config.data.val == "random":
        found.append(
            LeakFinding("validation", "caution", "validation spots lie between training spots, so the epoch may be late")
        )
    if reference is not None:
        fitted.append(Fitted("index", tuple(dict.fromkeys(map(str, reference.spots["section"])))))
        found += leakage.of_spots("index", tuple(map(str, reference.spots.index)), divided)
        found += _patients(reference, divided)
        added = [entry["name"] for entry in reference.manifest["sections"] if entry["origin"] != "training"]
        if added and not any(finding.kind == "index" for finding in found):
            found.append(LeakFinding("index", "caution", f"holds sections added after training: {', '.join(map(str, added))}"))
    stacker = calibrated_on(folder)
    if stacker:
        fitted.append(Fitted("corrector", stacker, "weights, k and intervals, on left-out training sections"))
    fitted.append(Fitted("floors", names, "ridge, image-kNN and the mean, fitted anew at each evaluation"))
    return leakage.report(folder.resolve().name, divided, fitted, found)


def calibrated_on(folder: Path) -> tuple[str, ...]:
    """Return the sections that a run's corrector was fitted on, as its files name them; none where there is no corrector.

    Raises:
        DataError: a file is damaged.

    """
    names: dict[str, None] = {}
    for path in sorted((folder / CALIBRATION).glob("*.json")):
        names |= dict.fromkeys(_named(read_json(path, "a calibration")))
    return tuple(names)


def _named(tree: dict[str, Any]) -> Iterator[str]:
    """Yield the section names under `sections`: plain, or in mappings with a `name`."""
    found = tree.get("sections", [])
    if not isinstance(found, list):
        raise DataError(f"a calibration names its sections by {type(found).__name__}; expected a list: calibrate again")
    for one in found:
        yield str(one["name"]) if isinstance(one, dict) else str(one)


def _patients(reference: Reference, divided: Split) -> Iterator[LeakFinding]:
    """Yield a finding where tissue of a test patient was added to the reference after training."""
    trained = {section.patient for section in (*divided.train, *divided.val)}
    added = set(map(str, reference.spots["patient"])) - trained
    shared = sorted(added & {section.patient for section in divided.test})
    if shared:
        yield LeakFinding("same patient", "caution", f"the index answers with added spots of test patient {', '.join(shared)}")


def _features(run: Run, names: tuple[str, ...]) -> Iterator[Fitted]:
    image = run.config.image
    if run.facts.trunk in textures.NAMES:
        yield Fitted("trunk", (), "numbers of the stains' texture, with nothing learnt")
    elif run.facts.trunk.startswith(GIVEN):
        yield Fitted("trunk", names if run.model.trunk.learns else (), "given in Python; what it saw before is not known")
    elif image.weights == "random":
        yield Fitted("trunk", names if image.train != "frozen" else (), "random weights at the start")
    else:
        yield Fitted("trunk", (), "pretrained elsewhere; whether on this tissue is not noted in its weights")
    if image.standardize == "train":
        yield Fitted("standardising", names)
    elif image.standardize == "section":
        yield Fitted("standardising", (), "each section by its own tiles, test sections too: by pictures, never by counts")
    if image.stain != "none":
        target = () if image.stain == "stretch" else names
        yield Fitted("stains", target, f"{image.stain}: each section by its own tiles, test sections too: never by counts")


def _standardiser(run: Run, divided: Split) -> Iterator[LeakFinding]:
    """Compare with the training tiles where that is possible: a trunk that learns has since changed its features."""
    alone = run.config.image.standardize == "train" and run.config.query.views == 1
    if alone and not run.model.trunk.learns and run.model.standardize.fitted:
        features = tile_features(run, run.tiles(divided.train))
        yield from leakage.of_standardiser(run.model.standardize.mean.cpu().numpy(), features)
