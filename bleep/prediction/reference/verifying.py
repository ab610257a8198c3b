"""Whether a reference on disk is still what was written."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from bleep.errors import BleepError, DataError
from bleep.prediction.reference import storage
from bleep.prediction.reference.measuring import measured_on
from bleep.prediction.reference.record import Reference
from bleep.prediction.storing import steps

LOST = 0.02
"""Recall may be so much below what the manifest says."""


def verify(folder: str | Path) -> tuple[Reference, dict[str, Any]]:
    """Read all of a reference, compare it with its manifest, and measure it again; return it with what was measured.

    Raises:
        DataError: something is off; all that was found is named.

    """
    folder = Path(folder)
    if not folder.is_dir():
        raise DataError(f"{folder}: there is no index; make it with `bleep index build`")
    tree = storage.read_manifest(folder)
    found = list(storage.damages(folder, tree)) if "format" in tree else []
    if not found:
        try:
            reference = Reference.load(folder)
            measured = measured_on(reference.index, reference.vectors, reference.queries, reference.manifest["measured"]["k"])
            found = list(_contents(reference, measured))
        except BleepError as error:
            found = [str(error)]
    if found:
        raise DataError(f"{folder}: {'; '.join(found)}; make it again with `bleep index build`")
    return reference, measured


def _contents(reference: Reference, measured: dict[str, Any]) -> Iterator[str]:
    manifest = reference.manifest
    if manifest["spots"] != len(reference):
        yield f"the manifest says {manifest['spots']} spots, there are {len(reference)}"
    held = {str(name): int(count) for name, count in reference.spots["section"].value_counts().items()}
    if held != {section["name"]: section["spots"] for section in manifest["sections"]}:
        yield f"the manifest does not name the sections that are there ({', '.join(sorted(held))})"
    for rows in steps(len(reference)):
        if not (np.isfinite(reference.vectors[rows]).all() and np.isfinite(reference.expression.rows(rows)).all()):
            yield f"vectors or expression hold values that are not finite, among rows {rows[0]} to {rows[-1]}"
            break
    before = manifest["measured"]["recall"]
    if measured["recall"] < before - LOST:
        yield f"the index finds {measured['recall']:.1%} of the true neighbours, {before:.1%} when it was written"
