"""The reference: measured spots that answer queries; how it is built, kept, changed and verified."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32

from bleep.data.section import Section
from bleep.data.tiles import Tiles
from bleep.errors import BleepError, DataError, MismatchError
from bleep.retrieval.embed import embed_queries, share_features
from bleep.retrieval.index import build_chosen
from bleep.retrieval.reference import storage
from bleep.retrieval.reference.expression_remote import RemoteExpression, check_url, digest_of
from bleep.retrieval.reference.expression_writer import steps
from bleep.retrieval.reference.identity import Spread, embedded, identity, noted
from bleep.retrieval.reference.reference import QUERIES, Reference, change, evenly, measured_on
from bleep.runs import Run

__all__ = ["Reference", "build", "change", "identity", "verify"]


def build(run: Run, sections: Sequence[Section], spread: Spread | None = None) -> Reference:
    """Embed the training spots, with `spread` elsewhere, and index them.

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
                "the index is built of training spots alone: set data.root to the same files "
                "in the run's config.yaml"
            )
    config = run.config.index
    url = check_url(config.expression_url) if config.expression_url else ""
    held = embedded(run, sections, config.expression, config.keys, spread)
    vectors = held.vectors
    manifest, queries = identity(run), _queries(run, sections)
    # An index that is tuned to a recall is measured on other queries than it was tuned on.
    asked = queries[::2] if len(queries) > 1 else None
    index, why = build_chosen(vectors, config, run.config.seed, queries=asked, spots=held.spots, run=manifest["weights"])
    queries = np.ascontiguousarray(queries[1::2])
    manifest |= {
        "version": run.facts.version,
        "kind": index.kind,
        "why": why,
        "keys": config.keys,
        "metric": "inner product",
        "spots": len(index),
        "dim": index.dim,
        "measured": measured_on(index, vectors, queries, run.config.query.k),
        "scale": run.panel.describe(),
        "gpu": config.gpu,
        "gpus": config.gpus,
        "expression": {"form": held.expression.form, "why": held.why} | ({"url": url} if url else {}),
        "sections": [noted(section, "training") for section in sections],
        "genes": list(run.panel.genes),
    }
    if config.store == "milvus":
        manifest["store"] = f"milvus, {config.uri}"
    return Reference(index, vectors, held.expression, held.spots, queries, manifest)


def queried(run: Run, sections: Sequence[Section]) -> Tiles:
    """Return the tiles that recall and speed are measured on: some of the smallest section's."""
    smallest = run.tiles((min(sections, key=len),))
    return replace(smallest.subset(evenly(len(smallest), QUERIES)), whole=smallest.sections)


def _queries(run: Run, sections: Sequence[Section]) -> Float32[np.ndarray, "queries dim"]:
    tiles = queried(run, sections)
    share_features(run, tiles)
    return embed_queries(run, tiles, run.config.index.keys)


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
    joined, expression = hashlib.sha256(), reference.expression
    for rows in steps(len(reference)):
        values = expression.rows(rows)
        digest_of(values, expression.dtype, joined)
        if not (np.isfinite(reference.vectors[rows]).all() and np.isfinite(values).all()):
            yield f"vectors or expression hold values that are not finite, among rows {rows[0]} to {rows[-1]}"
            break
    else:
        if isinstance(expression, RemoteExpression) and joined.hexdigest() != expression.facts.digest:
            yield f"the values at {expression.facts.place} have another sha256 than was noted when they were written"
    before = manifest["measured"]["recall"]
    if measured["recall"] < before - LOST:
        yield f"the index finds {measured['recall']:.1%} of the true neighbours, {before:.1%} when it was written"
