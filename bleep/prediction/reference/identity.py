"""What a reference belongs to, and which sections it holds."""

from collections.abc import Iterable, Mapping
from typing import Any, Literal

from bleep.errors import MismatchError
from bleep.runs import Run
from bleep.tissue.section import Section

OriginName = Literal["training", "added", "held out"]
"""How a section came in: trained on; added; added although the run holds it out to be tested on."""
SHARED = (("tiles", "tile size"), ("panel", "panel"), ("weights", "weights"))
"""What a reference and a run, or two references, must share, and its words."""


def identity(run: Run) -> dict[str, Any]:
    """Return what a reference and a run must share."""
    return {"tiles": run.spec.words(), "panel": run.panel.digest(), "weights": run.weights_digest()}


def check_same(manifest: Mapping[str, Any], expected: Mapping[str, Any], whose: str, way_out: str) -> None:
    """Refuse a manifest that belongs to something else.

    Raises:
        MismatchError: weights, panel or tile size differ; both sides are named.

    """
    for key, words in SHARED:
        if manifest.get(key) != expected.get(key):
            here, there = _short(manifest.get(key)), _short(expected.get(key))
            raise MismatchError(f"the index was built with other {words} ({here}) than {whose} ({there}); {way_out}")


def noted(section: Section, origin: OriginName) -> dict[str, Any]:
    """Return what the manifest says of a section."""
    return {
        "name": section.name,
        "patient": section.patient,
        "spots": len(section),
        "digest": section.digest(),
        "picture": section.slide.digest(),
        "origin": origin,
    }


def same_section(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Return whether two entries of manifests of one run are the same tissue.

    Those of version 0.1 have no digests, but hold sections the run was trained on alone, whose names tell them apart.
    """
    if one["digest"] and other["digest"]:
        return bool(one["digest"] == other["digest"])
    return bool(one["name"] == other["name"] and {one["origin"], other["origin"]} == {"training"})


def names(sections: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return the names of the sections of a manifest."""
    return [str(section["name"]) for section in sections]


def _short(value: object) -> str:
    text = str(value)
    return text[:12] if len(text) == 64 else text
