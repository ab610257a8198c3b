"""What a reference belongs to, and which sections it holds."""

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, final

import numpy as np
import pandas as pd
from jaxtyping import Float32
from scipy import sparse

from bleep.config import KeysName
from bleep.data.labels import labels_of
from bleep.data.section import Section
from bleep.errors import MismatchError
from bleep.progress import Progress
from bleep.retrieval.embed import embed_keys
from bleep.retrieval.reference.expression_store import ExpressionStore, FormName
from bleep.retrieval.reference.expression_writer import SPARSE, Block, stored
from bleep.runs import Run

log = logging.getLogger(__name__)

OriginName = Literal["training", "added", "held out"]
"""How a section came in: trained on; added; added although the run holds it out to be tested on."""
SHARED = (("tiles", "tile size"), ("panel", "panel"), ("weights", "weights"))
"""What a reference and a run, or two references, must share, and its words."""


def identity(run: Run) -> dict[str, Any]:
    """Return what a reference and a run must share."""
    return {"tiles": run.spec.describe(), "panel": run.panel.digest(), "weights": run.weights_digest()}


def check_same(manifest: Mapping[str, Any], expected: Mapping[str, Any], whose: str, way_out: str) -> None:
    """Refuse a manifest that belongs to something else.

    Raises:
        MismatchError: weights, panel or tile size differ; both sides are named.

    """
    for key, words in SHARED:
        if manifest.get(key) != expected.get(key):
            here, there = _short(manifest.get(key)), _short(expected.get(key))
            raise MismatchError(f"the index was built with other {words} ({here}) than {whose} ({there}); {way_out}")


def check_corrected(run: Run, section: Section) -> None:
    """Refuse tissue that is not, spot by spot, what a batch correction was fitted on, though its spots may be called alike.

    Raises:
        MismatchError: see above.

    """
    if section.digest() not in {facts.digest for facts in run.facts.train}:
        raise MismatchError(
            f"section {section.name}: is not tissue as the run was trained on, so there is no batch correction (panel.batch) "
            "for it; add training sections as they were then, or train with it"
        )


def check_keys(fitted: Mapping[str, Any], keys: KeysName) -> None:
    """Refuse an index whose spots are found by something else than those that a calibration was fitted on.

    Raises:
        MismatchError: see above; calibrations of older versions do not say what theirs were found by.

    """
    if (before := fitted.get("keys", keys)) != keys:
        raise MismatchError(
            f"the calibration was fitted on spots found by {before} (index.keys), and the index finds them by {keys}: "
            f"run `bleep calibrate` again, or `bleep index build --index.keys {before}`"
        )


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


CHANCE = 0.01
"""Spots of two sections of one picture may by chance stand at one place, up to this share; at whole pixels more may."""


def check_places(spots: pd.DataFrame, sections: Sequence[Mapping[str, Any]], new: Iterable[Mapping[str, Any]]) -> None:
    """Refuse a new section that lies where another of the same picture does: the same tissue, with its genes in another order.

    Raises:
        MismatchError: naming both.

    """
    pictures = {str(one["name"]): str(one["picture"]) for one in sections}
    pairs = [
        (name, other)
        for name in names(new)
        for other, picture in pictures.items()
        if other != name and picture and picture == pictures[name]
    ]
    if not pairs:
        return
    # Taken apart once: cores of an array are dozens of sections on one picture.
    parts = spots[["x", "y"]].groupby(spots["section"].to_numpy(), sort=False, observed=True)
    places = {str(name): pd.MultiIndex.from_frame(part) for name, part in parts}
    for name, other in pairs:
        mine, there = places[name], places[other]
        twice = int(mine.isin(there).sum())
        if twice > max(CHANCE, _met(there)) * len(mine):
            raise MismatchError(
                f"section {name}: {twice} of its {len(mine)} spots lie on the picture and at the places of spots of section "
                f"{other}, so it is that tissue, with other counts or its genes in another order; leave it out, or remove the "
                f"other by `bleep index remove --section {other}`"
            )


def _met(places: pd.MultiIndex) -> float:
    """Return the share of other spots that may well stand at the very places of these: twice that of whole pixels taken."""
    xy = places.to_frame().to_numpy(np.float64)
    if not len(xy) or (xy != np.round(xy)).any():
        return 0.0
    return float(min(2 * len(xy) / np.prod(np.ptp(xy, axis=0) + 1), 0.5))


def names(sections: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return the names of the sections of a manifest."""
    return [str(section["name"]) for section in sections]


def _short(value: object) -> str:
    text = str(value)
    return text[:12] if len(text) == 64 else text


def annotated(section: Section, label: str = "") -> pd.DataFrame:
    """Return the table of a section's spots, with the organ where its files name it, and the label where one is asked for.

    Spots of a section without labels have none, and no vote.
    """
    frame, measured = section.frame(), section.counts.obs
    if "organ" in measured:
        frame = frame.assign(organ=measured["organ"].astype(str).to_numpy())
    if label and label not in measured:
        log.warning("section %s: has no column %r of labels, so its spots have no vote", section.name, label)
        return frame.assign(label="")
    return frame.assign(label=labels_of(section, label)) if label else frame


@final
@dataclass(frozen=True, slots=True)
class Held:
    """Spots on their way into a reference."""

    vectors: Float32[np.ndarray, "spots dim"]
    """Their embeddings."""
    expression: ExpressionStore
    """Their values."""
    spots: pd.DataFrame
    """See `annotated`."""
    why: str = ""
    """Why the values are kept in this form."""


Embedded = tuple[Float32[np.ndarray, "spots dim"], Block]
"""The vectors of a section's spots, and their values."""
Spread = Callable[[KeysName, Sequence[Section]], Iterable[Embedded]]
"""Embeds sections elsewhere, and returns them in their order."""


def embedded_section(run: Run, keys: KeysName, section: Section) -> Embedded:
    """Embed what the spots of a section are found by.

    Raises:
        MismatchError: see `embedded`.

    """
    vectors, values = embed_keys(run, (section,), keys), run.panel.training_values(section)
    # Compressed at once where it pays, so that the values of many sections fit into memory.
    return vectors, sparse.csr_matrix(values) if np.count_nonzero(values) <= SPARSE * values.size else values


def embedded(
    run: Run,
    sections: Sequence[Section],
    form: Literal["auto"] | FormName,
    keys: KeysName = "expression",
    spread: Spread | None = None,
) -> Held:
    """Embed what the spots of sections are found by, one section after another; with `spread`, elsewhere.

    Raises:
        MismatchError: a section lacks genes of the panel, is of another species, or there is a batch correction that does
            not know it; or the run was trained by regression.
        DataError: float16 is asked for, and a value is too large for it.

    """
    parts = spread(keys, sections) if spread else (embedded_section(run, keys, section) for section in sections)
    found = list(Progress(parts, total=len(sections), desc="embedding spots", unit="section", leave=False))
    store, why = stored([values for _, values in found], form)
    vectors = np.concatenate([vectors for vectors, _ in found])
    return Held(vectors, store, pd.concat([annotated(section, run.config.data.label) for section in sections]), why)
