"""What a run has seen: it is refused to score what has seen the test tissue, and said of what is predicted."""

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from bleep.data.splits import Split
from bleep.data.tiles import Tiles
from bleep.errors import DataError, MismatchError
from bleep.evaluation import leakage
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
            check_reference(reference, experiment.split, member.folder, member.run)


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


def check_reference(reference: Reference, divided: Split, folder: Path, run: Run | None = None) -> None:
    """Refuse to score with a reference that holds tissue which the scores are taken on.

    With its run, what was added is compared by its values too, so that another name or picture hides nothing.

    Raises:
        MismatchError: a section held out was added to it.

    """
    tested = {digest for section in divided.test for digest in (section.digest(), section.slide.digest())}
    for entry in reference.manifest["sections"]:
        added = entry["origin"] == "added" and {entry["digest"], entry["picture"]} & tested
        if added or entry["origin"] == "held out":
            raise MismatchError(_tested_on(folder, entry["name"], "is tissue held out to be tested on"))
        if entry["origin"] != "added" or run is None:
            continue
        rows = np.flatnonzero((reference.spots["section"] == entry["name"]).to_numpy())
        blocks = [reference.expression.rows(rows[at : at + BLOCK]) for at in range(0, len(rows), BLOCK)]
        for section in divided.test:
            values = np.nan_to_num(run.panel.values(section, run.config.panel.absent))
            if twice := leakage.repeated_values(values, blocks):
                same = f"has the values of {twice} of {len(section)} spots of {section.name}, held out to be tested on"
                raise MismatchError(_tested_on(folder, entry["name"], same))


def _tested_on(folder: Path, name: str, why: str) -> str:
    return (
        f"{folder}: its index holds section {name}, which {why}, so a score would say nothing; remove it with "
        f"`bleep index remove --section {name} --run {folder}`"
    )


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
