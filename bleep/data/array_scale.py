"""The scale that a section is read at, against the array that its spots stand on, whose pitch in microns is known."""

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING

from bleep.data.section import Section
from bleep.errors import DataError

if TYPE_CHECKING:
    from anndata import AnnData

OFF, CLEAR = 1.15, 1.2
"""Ratios of two scales: worth a word, and surely of two pictures."""

log = logging.getLogger(__name__)


def note_array(counts: "AnnData", pitch: float | None, microns: float | None) -> None:
    """Note down the pitch of a section's array in pixels of its picture, and in microns; 0: an array of unknown pitch."""
    counts.uns["bleep"] |= {"pitch": pitch, "pitch_um": microns}


def pitch_of(section: Section) -> float:
    """Return the microns from a place of the array to the nearest, at the section's scale; 0: what they are is not known."""
    own = mpp_by_array(section)
    return float(section.counts.uns["bleep"]["pitch"]) * section.mpp if own else 0.0


def mpp_by_array(section: Section) -> float | None:
    """Return the microns per pixel by the array alone; none: there is none whose pitch in microns is known."""
    facts = section.counts.uns.get("bleep", {})
    pitch, microns = facts.get("pitch"), facts.get("pitch_um")
    return float(microns) / float(pitch) if pitch and microns else None


def check_arrays(sections: Sequence[Section], given: float | None) -> None:
    """Refuse one `data.mpp` for pictures of several scales; say, once, where the arrays contradict the scale in use.

    Args:
        sections: what is trained on, or held out.
        given: `data.mpp`; none: each section is read at a scale of its own.

    Raises:
        DataError: naming the section that is furthest off, and both scales.

    """
    if told := different_scales(sections, given):
        raise DataError(told)
    warn_of_arrays(sections, "data.mpp")


def different_scales(sections: Sequence[Section], given: float | None) -> str:
    """Return in words which two sections have pictures of clearly different scales under one `data.mpp`; empty: none."""
    known = [(one.name, own) for one in sections if (own := mpp_by_array(one)) is not None]
    if given is None or not known:
        return ""
    fits, least = min(known, key=lambda pair: ratio(given, pair[1]))
    furthest, most = max(known, key=lambda pair: ratio(least, pair[1]))
    if ratio(least, most) <= CLEAR:
        return ""
    return (
        f"section {furthest}: data.mpp is {given:.4g} for all sections, but its array of spots says {most:.4g} microns per "
        f"pixel, that of section {fits} {least:.4g}: their pictures are of different scales; leave data.mpp out, so that each "
        "section has its own"
    )


def warn_of_arrays(sections: Sequence[Section], setting: str) -> None:
    """Say, once for all sections, that their arrays contradict the scale they are read at; `setting` is what mends it."""
    off = [(one, own) for one in sections if (own := mpp_by_array(one)) is not None and ratio(one.mpp, own) > OFF]
    if off:
        first, own = max(off, key=lambda pair: ratio(pair[0].mpp, pair[1]))
        more = f" (and {len(off) - 1} more)" if len(off) > 1 else ""
        log.warning(
            "section %s%s: at %.4g microns per pixel the spots lie %.3g um apart, but on this array it is %.3g um, so that "
            "tiles show another piece of tissue than thought; set %s to about %.4g",
            first.name, more, first.mpp, pitch_of(first), pitch_of(first) * own / first.mpp, setting, own,
        )  # fmt: skip


def ratio(one: float, other: float) -> float:
    """Return how many times the larger is the smaller."""
    return max(one / other, other / one)
