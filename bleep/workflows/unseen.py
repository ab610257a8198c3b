"""What a run has seen: it is refused to score what has seen the test tissue, and said of what is predicted."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from bleep.data.facts import SectionFacts, places_digest
from bleep.data.section import Section
from bleep.data.splits import Split, leak_between
from bleep.data.tiles import Tiles
from bleep.errors import ConfigError, DataError, MismatchError
from bleep.evaluation import leakage
from bleep.predictors import Ensemble, MeanOfPredictors, Predictor, plain
from bleep.predictors.calibration import CombinedPredictor
from bleep.records import Leak
from bleep.retrieval.reference import Reference
from bleep.runs import Run
from bleep.workflows.opened import Opened

log = logging.getLogger(__name__)

BLOCK = 4096
"""Spots of a reference whose values are read at once."""


def check_unseen(experiment: Opened) -> None:
    """Refuse to score what has seen the test tissue: a run, one of an ensemble, or the index of either.

    Raises:
        DataError: nothing was held out.
        MismatchError: naming the run and the section.

    """
    for member in experiment.members:
        check_held_out(member.run, experiment.split, member.folder)
        reference = experiment.reference_of(member)
        if reference is not None:
            check_reference(reference, experiment.split.test, member.folder, member.run)


def check_held_out(run: Run, divided: Split, folder: Path) -> None:
    """Refuse to score a run on tissue that it was trained on, or that has changed since.

    Raises:
        DataError: nothing was held out.
        MismatchError: naming the run and the section.

    """
    trained = {facts.digest: facts.name for facts in (*run.facts.train, *run.facts.val)}
    if not divided.test:
        raise DataError(f"{folder}: nothing was held out (data.split is none), so there is nothing to score; split to evaluate")
    for section in divided.test:
        if section.digest() in trained:
            raise MismatchError(
                f"{folder}: test section {section.name} is tissue the run was trained on; choose another to test"
            )
    if {facts.digest for facts in run.facts.train} != {section.digest() for section in divided.train}:
        raise MismatchError(
            f"{folder}: the files in {run.config.data.root} are not those the run was trained on; restore them, "
            "or evaluate a run of another fold by itself"
        )


def check_reference(reference: Reference, tested: Sequence[Section], folder: Path, run: Run | None = None) -> None:
    """Refuse to score with a reference that holds tissue which the scores are taken on.

    With its run, what was added is compared by its values too, so that another name or picture hides nothing.

    Raises:
        MismatchError: a section held out was added to it.

    """
    digests = {digest for section in tested for digest in (section.digest(), section.slide.digest())}
    for entry in reference.manifest["sections"]:
        added = entry["origin"] == "added" and {entry["digest"], entry["picture"]} & digests
        if added or entry["origin"] == "held out":
            raise MismatchError(_tested_on(folder, entry["name"], "is tissue held out to be tested on"))
        if entry["origin"] != "added" or run is None:
            continue
        rows = np.flatnonzero((reference.spots["section"] == entry["name"]).to_numpy())
        blocks = [reference.expression.rows(rows[at : at + BLOCK]) for at in range(0, len(rows), BLOCK)]
        for section in tested:
            values = np.nan_to_num(run.panel.values(section, run.config.panel.absent))
            if twice := leakage.repeated_values(values, blocks):
                same = f"has the values of {twice} of {len(section)} spots of {section.name}, held out to be tested on"
                raise MismatchError(_tested_on(folder, entry["name"], same))


def _tested_on(folder: Path, name: str, why: str) -> str:
    return (
        f"{folder}: its index holds section {name}, which {why}, so a score would say nothing; remove it with "
        f"`bleep index remove --section {name} --run {folder}`"
    )


_RUN = "the run"
_ORDER = ("nothing held out", "none", "unknown", "same patient", "neighbouring tissue", "random spots")


def worst(leaks: Sequence[Leak]) -> Leak:
    """Return the leak of those that share most."""
    return max(leaks, key=lambda leak: _ORDER.index(leak.status))


def worst_leak(seen: Sequence[Run]) -> Leak:
    """Return what training shared with the test tissue, of the run that shared most."""
    return worst([run.facts.leak for run in seen])


def check_asked(predictors: object, tiles: object, run: object) -> None:
    """Refuse to compare what cannot be.

    Raises:
        ConfigError: saying what to give instead.

    """
    if not isinstance(predictors, Mapping) or not predictors:
        found = "none" if isinstance(predictors, Mapping) else f"a {type(predictors).__name__}"
        raise ConfigError(f"predictors: found {found}; expected a mapping of names to predictors, such as {{'ridge': ridge}}")
    if not isinstance(run, Run):
        raise ConfigError(f"run: found a {type(run).__name__}; expected a bleep.Run, such as experiment.run")
    check_tiles(tiles, "measured sections")


def check_tiles(tiles: object, of: str = "sections") -> None:
    """Refuse what are no tiles, or none at all.

    Raises:
        ConfigError: saying what to give instead.

    """
    if not isinstance(tiles, Tiles) or not len(tiles):
        found = "none" if isinstance(tiles, Tiles) else f"a {type(tiles).__name__}"
        raise ConfigError(f"tiles: found {found}; expected the tiles of {of}, such as run.tiles(sections)")


def check_sections(given: object) -> None:
    """Refuse what is no sequence of sections.

    Raises:
        ConfigError: saying what to give instead.

    """
    each = given if isinstance(given, Sequence) else ()
    odd = next((one for one in each if not isinstance(one, Section)), None if isinstance(given, Sequence) else given)
    if odd is not None:
        way = "; bleep.from_anndata makes them of an AnnData" if type(odd).__name__ == "AnnData" else ""
        raise ConfigError(f"sections: found a {type(odd).__name__}; expected a list of bleep.Section, such as [section]{way}")


class Seen(NamedTuple):
    """What a predictor, or the run it is of, was fitted on."""

    sections: tuple[SectionFacts, ...]
    run: Run | None = None
    """The run, where that was fitted."""
    reference: Reference | None = None


def leak_of(predictors: Mapping[str, Predictor], tiles: Tiles, run: Run) -> Leak:
    """Return what the tissue of tiles shares with what predictors were fitted on, and with what the run was trained on.

    Raises:
        MismatchError: some of it is what one of them was fitted on, or stands in its index.

    """
    now, known = tuple(map(SectionFacts.of, tiles.sections)), {one.digest for one in run.facts.train}
    leaks, unknown = [_shared(_RUN, Seen((*run.facts.train, *run.facts.val), run), tiles, now)], []
    for name, predictor in predictors.items():
        for seen in _seen_by(predictor):
            if seen is None:
                unknown.append(name)
            elif seen.run is not None or not all(one.digest in known for one in seen.sections):
                leaks.append(_shared(name, seen, tiles, now))
    found = worst(leaks)
    if not unknown:
        return found
    status = "unknown" if found.status == "none" else found.status
    return Leak(status, f"{found.detail}; what {', '.join(dict.fromkeys(unknown))} was fitted on is not known")


def _seen_by(predictor: Predictor) -> Iterator[Seen | None]:
    """Yield what a predictor and its members were fitted on; None where it does not say."""
    one: Any = plain(predictor)
    if isinstance(one, MeanOfPredictors | Ensemble):
        for member in one.members:
            yield from _seen_by(member)
        return
    if isinstance(one, CombinedPredictor):
        for member in one.members.values():
            yield from _seen_by(member)
    noted = getattr(one, "fitted_on", None)
    if type(one).__module__.partition(".")[0] == "bleep":
        yield Seen((*one.run.facts.train, *one.run.facts.val), one.run, getattr(one, "reference", None))
    elif noted is None:
        yield None
    if noted:
        yield Seen(tuple(each if isinstance(each, SectionFacts) else SectionFacts.of(each) for each in noted))


def _shared(name: str, seen: Seen, tiles: Tiles, now: tuple[SectionFacts, ...]) -> Leak:
    trained, pictures = {one.digest for one in seen.sections}, {one.picture for one in seen.sections if one.picture}
    for one in now:
        if one.digest in trained:
            whose = "it" if seen.run is None or name == _RUN else "its run"
            raise MismatchError(f"{name}: test section {one.name} is tissue {whose} was trained on; choose another to test")
    leaks = []
    if seen.reference is not None and seen.run is not None:
        check_reference(seen.reference, tiles.sections, seen.run.config.out, seen.run)
        answering = sorted({one.patient for one in now} & set(map(str, seen.reference.spots["patient"])))
        if answering:
            leaks.append(Leak("same patient", f"the index of {name} answers with spots of patient {', '.join(answering)}"))
    run, on = seen.run, [section for section, one in zip(tiles.sections, now, strict=True) if one.picture in pictures]
    if on and run is not None and run.facts.by in ("random", "block"):
        leaks.append(run.facts.leak)
        # Of such a section some spots were trained on; who asks about others than those held out may ask about these.
        on = [section for section in on if run.facts.places and places_digest(section) not in run.facts.places]
    if on:
        names = ", ".join(section.name for section in on)
        words = f"{names} lies on a picture that {name} was trained on, perhaps on these very spots"
        leaks.append(Leak("random spots", words))
    return worst([leak_between(seen.sections, now), *leaks])


def warn_of_trained(runs: Sequence[Run], tiles: Tiles) -> None:
    """Say aloud which sections, or slides of them, any of these runs was trained on."""
    known = [facts for run in runs for facts in (*run.facts.train, *run.facts.val)]
    trained, pictures = {facts.digest for facts in known}, {facts.picture: facts.name for facts in known if facts.picture}
    for section in tiles.sections:
        if section.digest() in trained:
            log.warning(
                "section %s was trained on: its prediction looks back at itself and says nothing of skill", section.name
            )
        elif (name := pictures.get(section.slide.digest())) is not None:
            log.warning(
                "%s is the picture of section %s, which was trained on: its prediction looks back at itself where spots were "
                "measured, and says nothing of skill there",
                section.name, name,
            )  # fmt: skip
