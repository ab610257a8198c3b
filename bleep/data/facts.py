"""What a run remembers of the sections that it was trained on."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import final

import numpy as np

from bleep.data.array_scale import pitch_of
from bleep.data.labels import labels_of
from bleep.data.section import Section


@final
@dataclass(frozen=True, slots=True)
class SectionFacts:
    """What a run remembers of a section."""

    name: str
    patient: str
    spots: int
    digest: str
    """sha256 of its picture, positions and counts."""
    mpp: float
    tile_side: int
    """Pixels of its ready-cut tiles; 0 for a slide."""
    picture: str = field(default="", compare=False)
    """sha256 of its picture alone; empty in runs of older versions, which did not note it."""
    pitch: float = field(default=0.0, compare=False)
    """Microns from a place of its array to the nearest, at its `mpp`; 0: not known, or not noted by an older version."""
    labels: str = field(default="", compare=False)
    """sha256 of its labels, where they are learnt beside the expression; else empty, as in runs of older versions."""

    @classmethod
    def of(cls, section: Section, column: str = "") -> "SectionFacts":
        """Note a section down, with its labels where their column is named."""
        picture = section.slide.digest()
        digest, side, pitch = section.digest(), section.tile_side, pitch_of(section)
        labels = labels_digest(section, column) if column else ""
        return cls(section.name, section.patient, len(section), digest, section.mpp, side, picture, pitch, labels)


def places_digest(section: Section) -> str:
    """Return a sha256 of where the spots of a section lie on its picture, in whatever order; not of what was measured there."""
    joined = hashlib.sha256(section.slide.digest().encode())
    joined.update(np.ascontiguousarray(section.xy[np.lexsort(section.xy.T)]).tobytes())
    return joined.hexdigest()


def labels_digest(section: Section, column: str) -> str:
    """Return a sha256 of a section's labels, spot by spot; a section without the column has none for any spot."""
    named = labels_of(section, column) if column in section.counts.obs else [""] * len(section)
    return hashlib.sha256("\0".join(named).encode()).hexdigest()


def relabelled(noted: Sequence[SectionFacts], now: Sequence[SectionFacts]) -> str | None:
    """Return the name of the first section whose labels are not those that were noted down of it, if there is one."""
    known = {facts.digest: facts.labels for facts in noted if facts.labels}
    return next((facts.name for facts in now if known.get(facts.digest, facts.labels) != facts.labels), None)
