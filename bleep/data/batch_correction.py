"""Batch correction between training sections: what is added to the normalised values of each training spot."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import numpy as np
import pandas as pd
from jaxtyping import Float, Float32, Float64, Int64

from bleep.config import BatchName
from bleep.data.section import Section
from bleep.errors import DataError, MismatchError
from bleep.files import write_tensors

COMPONENTS = 30
"""Principal components that Harmony works on, or as many as there are."""
SEED = 0
"""Of Harmony, so that the same training spots always give the same correction."""

Values = Float64[np.ndarray, "spots genes"]
Pair = tuple[Float[np.ndarray, "spots parts"], Float[np.ndarray, "parts genes"]]


@final
@dataclass(frozen=True, slots=True)
class Correction:
    """Corrected values are the normalised values + codes @ parts; known for training spots alone.

    Raises:
        DataError: the lengths do not agree, or a value is not a number.

    """

    kind: str
    """`center` or `harmony`."""
    ids: tuple[str, ...]
    """`section/spot` of each training spot."""
    codes: Float32[np.ndarray, "spots parts"]
    """How much of each part a spot takes."""
    parts: Float32[np.ndarray, "parts genes"]
    """What is added to the genes, on the normalised scale."""

    def __post_init__(self) -> None:
        if self.codes.shape != (len(self.ids), len(self.parts)):
            raise DataError(f"a batch correction of {len(self.ids)} spots came with codes of shape {self.codes.shape}")
        if not (np.isfinite(self.codes).all() and np.isfinite(self.parts).all()):
            raise DataError(f"the batch correction ({self.kind}) holds values that are not numbers; set panel.batch to none")

    def added(self, section: Section) -> Float32[np.ndarray, "spots genes"]:
        """Return what is added to a training section, or to any of its spots that were trained on.

        Raises:
            MismatchError: a spot was not trained on.

        """
        rows = pd.Index(self.ids).get_indexer(pd.Index(section.ids))
        if (rows < 0).any():
            new = [name for name, row in zip(section.ids, rows, strict=True) if row < 0]
            raise MismatchError(
                f"section {section.name}: {len(new)} of its {len(section)} spots, first {new[0]!r}, were not trained on, so "
                f"there is no batch correction ({self.kind}) for them; give the sections the run was trained on"
            )
        added: Float32[np.ndarray, "spots genes"] = self.codes[rows] @ self.parts
        return added

    def digest(self) -> str:
        """Return a sha256 of everything in it."""
        joined = hashlib.sha256(json.dumps([self.kind, self.ids, self.codes.shape, self.parts.shape]).encode())
        for array in (self.codes, self.parts):
            joined.update(np.ascontiguousarray(array).tobytes())
        return joined.hexdigest()

    def save(self, path: Path) -> None:
        """Write it as safetensors, the ids as JSON in the header."""
        facts = {"kind": self.kind, "ids": json.dumps(self.ids)}
        write_tensors(path, {"codes": self.codes, "parts": self.parts}, facts)

    @classmethod
    def load(cls, path: Path) -> "Correction":
        """Read it.

        Raises:
            DataError: the file is missing or damaged.

        """
        from safetensors import SafetensorError, safe_open

        if not path.is_file():
            raise DataError(f"{path}: no such file; the panel beside it needs its batch correction: train again")
        try:
            with safe_open(path, framework="numpy") as file:
                facts: dict[str, Any] = file.metadata() or {}
                codes, parts = file.get_tensor("codes"), file.get_tensor("parts")
            return cls(facts["kind"], tuple(json.loads(facts["ids"])), codes, parts)
        except (SafetensorError, OSError, LookupError, TypeError, ValueError, RecursionError, DataError) as error:
            raise DataError(f"{path}: is damaged ({str(error).splitlines()[0]}); train again") from None


def correction(kind: BatchName, values: Values, sections: Sequence[Section]) -> Correction | None:
    """Fit a correction on the normalised values of the training sections, one after another; None for `none`.

    Raises:
        DataError: there is only one section, or the extra is missing.

    """
    if kind == "none":
        return None
    if len(sections) < 2:
        raise DataError(
            f"panel.batch is {kind}, which corrects between training sections, but {sections[0].name} is the only one; "
            "train on two or more, or set panel.batch to none"
        )
    ids = tuple(name for section in sections for name in section.ids)
    # Clusters begin at random spots, and sums depend on their order: sections are taken by name, their spots by place.
    xy = [s.xy if s.has_positions else np.zeros_like(s.xy) for s in sections]
    places = np.concatenate(xy)
    names = np.repeat([section.name for section in sections], [len(section) for section in sections])
    order = np.lexsort((np.array(ids), places[:, 0], places[:, 1], names))
    named = sorted(range(len(sections)), key=lambda at: sections[at].name)
    number = np.empty(len(sections), dtype=np.int64)
    number[named] = np.arange(len(sections))
    batch = np.repeat(number, [len(section) for section in sections])
    sorted_codes, parts = CORRECTIONS[kind](values[order], batch[order])
    codes = np.empty_like(sorted_codes)
    codes[order] = sorted_codes
    return Correction(kind, ids, codes.astype(np.float32), parts.astype(np.float32))


def _center(values: Values, batch: Int64[np.ndarray, " spots"]) -> Pair:
    """Move each section's gene means to those over all training spots, so that the latter stay what they were."""
    codes = np.eye(batch.max() + 1)[batch]
    means = codes.T @ values / codes.sum(axis=0)[:, None]
    return codes, values.mean(axis=0) - means


def _harmony(values: Values, batch: Int64[np.ndarray, " spots"]) -> Pair:
    """Let Harmony (Korsunsky et al., Nat Methods 2019) move the principal components, and map the moves back to genes.

    What lies outside these components stays as it is.
    """
    try:
        import harmonypy
    except ImportError:
        raise DataError("panel.batch harmony needs the extra harmony: pip install -e '.[harmony]' in bleep's clone") from None
    centred = values - values.mean(axis=0)
    loadings = _loadings(centred)
    scores = centred @ loadings.T
    # Harmony's own rule, one cluster for each 30 spots and 100 at most, would give none for a handful of spots.
    clusters = max(1, min(round(len(values) / 30), 100))
    moved = harmonypy.run_harmony(
        scores, {"section": batch}, ["section"], nclust=clusters, random_state=SEED, verbose=False
    ).Z_corr
    return moved - scores, loadings


def _loadings(centred: Values) -> Float64[np.ndarray, "parts genes"]:
    """Return the directions of largest variance, of unit length, from the smaller of the two Gram matrices."""
    tall = len(centred) >= centred.shape[1]
    gram = centred.T @ centred if tall else centred @ centred.T
    size = len(gram)
    from scipy import linalg  # here, since importing it takes half a second

    variance, vectors = linalg.eigh(gram, subset_by_index=[max(0, size - COMPONENTS), size - 1])
    # What is left of flat genes after centring is rounding, not variance.
    keep = np.flatnonzero(variance > max(1e-10 * variance[-1], 1e-12 * len(centred)))[::-1]
    if len(keep) == 0:
        raise DataError("no gene of the panel varies over the training spots, so panel.batch harmony has nothing to correct")
    loadings = vectors[:, keep].T if tall else (vectors[:, keep] / np.sqrt(variance[keep])).T @ centred
    # A direction has no sign of its own: its largest weight is made positive.
    largest = np.abs(loadings).argmax(axis=1)
    return loadings * np.sign(loadings[np.arange(len(loadings)), largest])[:, None]


CORRECTIONS: Mapping[BatchName, Callable[[Values, Int64[np.ndarray, " spots"]], Pair]] = {
    "center": _center,
    "harmony": _harmony,
}
