"""The tissue of a configuration: read, divided, shared between runs, and whether it is still what a run was trained on."""

import json
from collections.abc import Sequence
from typing import final

from bleep.config import Config
from bleep.data.facts import SectionFacts, labels_digest
from bleep.data.labels import LABEL, check_classes, check_labels, labelled
from bleep.data.qc.values import check_counts
from bleep.data.readers import read_sections
from bleep.data.section import Section
from bleep.data.splits import Split, split
from bleep.errors import MismatchError
from bleep.runs import Run

SPLIT_ONLY = {"protocol", "split", "test", "folds", "fold", "val", "val_share", "blocks", "margin"}
"""Settings of `data` that do not change what is read."""


@final
class Tissue:
    """Sections of files, read once for all the runs that name them alike."""

    def __init__(self) -> None:
        self._sections: dict[str, tuple[Section, ...]] = {}

    def split(self, config: Config) -> Split:
        """Return the sections of a configuration, divided as it says.

        Raises:
            DataError, ConfigError: see `read_sections` and `bleep.split`.

        """
        what = config.data.model_dump(mode="json", exclude=SPLIT_ONLY) | {"cache": str(config.cache)}
        key = json.dumps(what, sort_keys=True)
        if key not in self._sections:
            self._sections[key] = read_sections(config.data, config.cache)
        return divide(self._sections[key], config)


def load_split(config: Config) -> Split:
    """Read the sections of a configuration and divide them.

    Raises:
        DataError, ConfigError: see `read_sections` and `split`.

    """
    return divide(read_sections(config.data, config.cache), config)


def divide(sections: Sequence[Section], config: Config) -> Split:
    """Divide sections as a configuration says; what a classifier is to learn stands in place of what was measured.

    Raises:
        DataError, ConfigError: see `split`, `labelled`, `check_labels`, `check_counts` and `check_classes`.

    """
    if config.loss.task != "classify":
        if config.data.label:
            check_labels(sections, config.data.label)
        check_counts(sections, config.panel.normalise)
        return split(sections, config.data, config.seed)
    divided = split(labelled(sections, config.data.label or LABEL), config.data, config.seed)
    check_classes(divided)
    return divided


def trained_tissue(run: Run) -> Split:
    """Return the run's split, its training side just what the run was trained on.

    Raises:
        MismatchError: a section is gone, is not as it was, has other labels than were learnt, or is new.

    """
    return check_trained(run, load_split(run.config))


def check_trained(run: Run, divided: Split) -> Split:
    """Return a split whose training side is just what the run was trained on.

    Raises:
        MismatchError: a section is gone, is not as it was, has other labels than were learnt, or is new.

    """
    trained = {facts.digest: facts for facts in run.facts.train}
    for section in divided.train:
        noted = trained.pop(section.digest(), None)
        if noted is None:
            raise MismatchError(
                f"section {section.name}: its files are not those the run was trained on "
                f"({', '.join(facts.name for facts in run.facts.train)}); set data.root "
                "and any table of data.drop to the same files in the run's config.yaml"
            )
        _check_labels(noted, section, run.config.data.label)
    if trained:
        name = next(iter(trained.values())).name
        raise MismatchError(f"{run.config.data.root}: section {name}, which the run was trained on, is not there; restore it")
    return divided


def _check_labels(noted: SectionFacts, section: Section, column: str) -> None:
    """Refuse a section whose labels are not those that a run learnt beside the expression.

    Raises:
        MismatchError: see above.

    """
    if noted.labels and noted.labels != labels_digest(section, column):
        raise MismatchError(
            f"section {section.name}: its labels (column {column}) are not those the run learnt; restore them, or train again"
        )
