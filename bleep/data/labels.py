"""Labels of spots as something to be learnt: a class is a column, and a spot has 1 in its own.

So everything that handles measured values (splits, the panel, the index, predictions) handles labels too, and the predicted
value of a class is its probability, or its share of the neighbours' votes.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
from anndata import AnnData
from jaxtyping import Float32
from scipy import sparse

from bleep.data.section import Section, word
from bleep.data.splits import Split
from bleep.errors import DataError

LABEL = "label"
"""Column of `obs` where nothing else is asked for."""
MOST = 1000
"""More classes than this are no classes."""
FEW = 20
"""Nor are more than this where most have a single spot, as measures have."""


def labels_of(section: Section, column: str) -> list[str]:
    """Return the label of each spot; empty where there is none.

    Raises:
        DataError: the section has no such column.

    """
    if column not in section.counts.obs:
        known = ", ".join(map(str, section.counts.obs.columns)) or "none"
        raise DataError(f"section {section.name}: has no column {column!r} of labels; found {known}: set data.label")
    values = section.counts.obs[column]
    return ["" if missing else word(value) for value, missing in zip(values, values.isna(), strict=True)]


def check_labels(sections: Sequence[Section], column: str) -> None:
    """Refuse a column of labels that no section has, or that is empty in all of them.

    Raises:
        DataError: naming the columns there are.

    """
    found = [section for section in sections if column in section.counts.obs]
    if not found:
        labels_of(sections[0], column)
    if not any(label for section in found for label in labels_of(section, column)):
        raise DataError(
            f"no spot of {', '.join(section.name for section in found)} has a {column}; label some, or leave data.label out"
        )


def classes_of(sections: Sequence[Section], column: str) -> tuple[str, ...]:
    """Return the labels that spots of these sections have, in order.

    Raises:
        DataError: they are fewer than two, or so many that the column can be no label.

    """
    there = Counter(label for section in sections if column in section.counts.obs for label in labels_of(section, column))
    classes = tuple(sorted(set(there) - {""}))
    if len(classes) < 2:
        raise DataError(f"all spots have {column} {''.join(classes)!r}; expected two classes or more: read more sections")
    spots = there.total() - there[""]
    if len(classes) > MOST or (len(classes) > FEW and len(classes) > spots / 2):
        found = f"{len(classes)} different values in {spots} spots"
        raise DataError(f"{column} has {found}, so it is no label; name another column in data.label")
    return classes


def one_hot(sections: Sequence[Section], column: str, classes: Sequence[str]) -> Float32[np.ndarray, "spots classes"]:
    """Return 1 for each spot's own class and 0 elsewhere; spots without a label, or of no such class, have 0 for all."""
    found, known = [], set(classes)
    for section in sections:
        named = labels_of(section, column) if column in section.counts.obs else [""] * len(section)
        # Runs of version 0.1 have classes such as 1.0, of a column with fractions.
        named = [f"{name}.0" if name not in known and f"{name}.0" in known else name for name in named]
        found.append(np.array(named)[:, None] == np.array(classes)[None])
    return np.concatenate(found).astype(np.float32)


def labelled(
    sections: Sequence[Section], column: str, *, partly: bool = False, also: Sequence[str] = ()
) -> tuple[Section, ...]:
    """Return the sections with labels in place of what was measured: spots x classes, 1 for a spot's own class.

    With `partly`, spots and whole sections may be without labels, and have 0 for every class. Classes that are known `also`
    are columns too, and a class of these sections is called as there (`1.0` for `1`, by version 0.1).

    Raises:
        DataError: a spot has no label, there is one class only, or so many that the column can be no label.

    """
    if not partly:
        _check_each(sections, column)
    named = {f"{name}.0" if name not in also and f"{name}.0" in also else name for name in classes_of(sections, column)}
    classes = tuple(sorted(named.union(also)))
    return tuple(_relabelled(section, one_hot((section,), column, classes), classes) for section in sections)


def labelled_as(sections: Sequence[Section], column: str, classes: Sequence[str]) -> tuple[Section, ...]:
    """Return sections of known `classes`, not all of which need be there, as `labelled` does.

    Raises:
        DataError: a spot has no label.

    """
    _check_each(sections, column)
    return tuple(_relabelled(section, one_hot((section,), column, classes), classes) for section in sections)


def _check_each(sections: Sequence[Section], column: str) -> None:
    for section in sections:
        named = labels_of(section, column)
        if "" in named:
            which = section.counts.obs_names[named.index("")]
            raise DataError(
                f"section {section.name}: {named.count('')} of {len(named)} spots have no {column}, first {which!r}; label "
                "them or leave them out"
            )


def _relabelled(section: Section, table: Float32[np.ndarray, "spots classes"], classes: Sequence[str]) -> Section:
    var = pd.DataFrame(index=pd.Index(classes, dtype=str))
    return replace(section, counts=AnnData(X=sparse.csr_matrix(table), obs=section.counts.obs.copy(), var=var))


def check_classes(divided: Split) -> None:
    """Refuse a split in which a class to be learnt, or to be told, is never trained on.

    Raises:
        DataError: the training side has one class only, or lacks one that is validated or tested with.

    """
    trained = Counter(_classes(divided.train))
    names = divided.train[0].genes
    if len(trained) < 2:
        raise DataError(
            f"all training spots are of class {names[next(iter(trained))]!r}; expected two classes: "
            "split otherwise, or read more sections"
        )
    for what, side in (("validate", divided.val), ("test", divided.test)):
        unknown = set(_classes(side)) - set(trained)
        if unknown:
            raise DataError(f"class {names[min(unknown)]!r} is there to {what}, but no training spot has it; split otherwise")


def _classes(sections: Sequence[Section]) -> list[int]:
    return [int(column) for section in sections for column in sparse.csr_matrix(section.counts.X).indices]
