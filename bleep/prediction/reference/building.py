"""A reference from a run and the tissue it was trained on."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import Float32

from bleep.errors import MismatchError
from bleep.prediction.embed import embed_tiles, share_features
from bleep.prediction.reference.embedding import embedded
from bleep.prediction.reference.identity import identity, noted
from bleep.prediction.reference.measuring import QUERIES, evenly, measured_on
from bleep.prediction.reference.record import Reference
from bleep.prediction.search import build_index, choose_kind
from bleep.runs import Run
from bleep.tissue.section import Section
from bleep.tissue.tiles import Tiles


def build(run: Run, sections: Sequence[Section]) -> Reference:
    """Embed the training spots and index them.

    Recall and speed are measured on tiles of the smallest of the sections: their pictures, embedded as a query's would be,
    are not what is stored.

    Raises:
        MismatchError: a section was not among those the run was trained on.

    """
    known = {facts.digest: facts.name for facts in (*run.facts.train, *run.facts.val)}
    for section in sections:
        if section.digest() not in known:
            raise MismatchError(
                f"section {section.name}: its files are not those the run was trained on ({', '.join(known.values())}); "
                "the index is built of training spots alone: set data.root to the same files"
            )
    config = run.config.index
    held = embedded(run, sections, config.expression)
    vectors = held.vectors
    kind, why = config.kind, f"index.kind is {config.kind}"
    if kind == "auto":
        kind, why = choose_kind(len(vectors), vectors.shape[1], config.memory)
    queries = _queries(run, sections)
    # An index that is tuned to a recall is measured on other queries than it was tuned on.
    asked = queries[::2] if len(queries) > 1 else None
    index = build_index(vectors, config.model_copy(update={"kind": kind}), run.config.seed, queries=asked)
    queries = np.ascontiguousarray(queries[1::2])
    manifest = identity(run) | {
        "version": run.facts.version,
        "kind": index.kind,
        "why": why,
        "metric": "inner product",
        "spots": len(index),
        "dim": index.dim,
        "measured": measured_on(index, vectors, queries, run.config.query.k),
        "scale": run.panel.words(),
        "gpu": config.gpu,
        "gpus": config.gpus,
        "expression": {"form": held.expression.form, "why": held.why},
        "sections": [noted(section, "training") for section in sections],
        "genes": list(run.panel.genes),
    }
    return Reference(index, vectors, held.expression, held.spots, queries, manifest)


def queried(run: Run, sections: Sequence[Section]) -> Tiles:
    """Return the tiles that recall and speed are measured on: some of the smallest section's."""
    smallest = run.tiles((min(sections, key=len),))
    return replace(smallest.subset(evenly(len(smallest), QUERIES)), whole=smallest.sections)


def _queries(run: Run, sections: Sequence[Section]) -> Float32[np.ndarray, "queries dim"]:
    tiles = queried(run, sections)
    share_features(run, tiles)
    return embed_tiles(run, tiles).vectors
