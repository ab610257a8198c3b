"""The reference itself: the embeddings and expression of measured spots, with a manifest that says what they belong to."""

import logging
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, final

import numpy as np
import pandas as pd
from jaxtyping import Float32

from bleep.config import IndexConfig, KeysName
from bleep.data.section import Section
from bleep.errors import DataError, MismatchError
from bleep.records import Neighbors
from bleep.retrieval.index import VectorIndex, Where, build_index, keeps, load_index, measure, select
from bleep.retrieval.reference import expression_remote, storage
from bleep.retrieval.reference.expression_store import ExpressionStore, SplicedExpression, mapped
from bleep.retrieval.reference.expression_writer import open_expression, write_expression
from bleep.retrieval.reference.identity import (
    Held,
    check_corrected,
    check_places,
    check_same,
    embedded,
    identity,
    names,
    noted,
    same_section,
)
from bleep.retrieval.reference.storage import known_texts, open_first, read_table
from bleep.runs import Run

QUERIES = 512
"""Tiles that an index is tuned and measured on, half and half; or stored vectors that it is measured on."""


def measured_on(
    index: VectorIndex, vectors: Float32[np.ndarray, "spots dim"], queries: Float32[np.ndarray, "queries dim"], k: int
) -> dict[str, Any]:
    """Return recall against exact search and speed; without queries, on evenly taken stored vectors."""
    asked = queries if len(queries) else vectors[evenly(len(vectors), QUERIES)]
    found = measure(index, vectors, np.asarray(asked), min(k, len(vectors)))
    return {
        "recall": found.recall_at_k,
        "k": k,
        "queries": found.queries,
        "queries_are": "tiles" if len(queries) else "stored vectors",
        "milliseconds_per_query": found.milliseconds_per_query,
        "bytes_per_vector": found.bytes_per_vector,
    }


def evenly(length: int, count: int) -> np.ndarray:
    """Return at most so many rows, evenly taken."""
    return np.linspace(0, length - 1, min(length, count), dtype=np.int64)


log = logging.getLogger(__name__)


@final
@dataclass(frozen=True, slots=True)
class Reference:
    """Measured spots that answer queries; a change gives another reference, which `save` then writes.

    Raises:
        MismatchError: index, vectors, expression and spots are not of one length, or two spots have one id.

    """

    index: VectorIndex
    """Search over the spots' embeddings."""
    vectors: Float32[np.ndarray, "spots dim"]
    """The embeddings as they are, whatever the index makes of them; mapped from a file once saved."""
    expression: ExpressionStore
    """Measured values of the panel's genes, on the normalised scale, batch-corrected if the panel says so."""
    spots: pd.DataFrame
    """One row a spot, indexed by `section/spot`: section, spot, patient, x, y, and organ where the tissue's files name it."""
    queries: Float32[np.ndarray, "queries dim"]
    """Embedded tiles on which recall and speed are measured after each change; may be none."""
    manifest: dict[str, Any]
    """What it belongs to."""
    where: Where | None = None
    """Which spots may answer; none: all of them."""

    def __post_init__(self) -> None:
        if len({len(self.index), len(self.vectors), len(self.expression), len(self.spots)}) > 1:
            raise MismatchError(
                f"the reference holds {len(self.index)} vectors, {len(self.expression)} rows of expression and "
                f"{len(self.spots)} spots: its files are of different builds; run `bleep index build` again"
            )
        if not self.spots.index.is_unique:
            raise MismatchError(
                f"the reference would hold spots twice: {_some(self.spots.index[self.spots.index.duplicated()])}"
            )

    def __len__(self) -> int:
        return len(self.spots)

    @property
    def keys(self) -> KeysName:
        """What its spots are found by; those of older versions by their expression."""
        return self.manifest.get("keys", "expression")

    def search(self, queries: Float32[np.ndarray, "queries dim"], k: int) -> Neighbors:
        """Return the k spots most similar to each query, best first, of those that may answer."""
        return self.index.search(queries, k, self.where)

    def only(self, condition: str) -> "Reference":
        """Return the reference in which only spots that meet a condition answer, such as `patient != 'P3'`.

        Raises:
            ConfigError: the condition cannot be read, names a column that `spots` has not, or no spot meets it.

        """
        return replace(self, where=select(condition, self.spots))

    def check(self, run: Run) -> None:
        """Refuse a run that this reference was not built with.

        Raises:
            MismatchError: weights, panel or tile size differ; both sides are named.

        """
        way_out = "run `bleep index build` again for this run, or name the run it belongs to"
        check_same(self.manifest, identity(run), "this run's", way_out)
        if self.index.dim != self.manifest.get("dim"):
            raise MismatchError(
                f"the index holds vectors of width {self.index.dim}, its manifest says {self.manifest.get('dim')}: "
                "its files are of different builds; run `bleep index build` again"
            )

    def save(self, folder: str | Path) -> None:
        """Write the folder, whole or not at all; what was there stays until then.

        Raises:
            DataError: there is no room, or another process is writing there.

        """
        with storage.locked(Path(folder)):
            self._write(Path(folder))

    @classmethod
    def load(cls, folder: str | Path) -> "Reference":
        """Read a reference; vectors and expression are mapped.

        Raises:
            DataError: a file is missing or damaged.
            MismatchError: the files are of different builds.

        """
        folder = Path(folder)
        if not folder.is_dir():
            raise DataError(f"{folder}: there is no index; make it with `bleep index build`")
        tree = storage.read_manifest(folder)
        while True:
            try:
                return cls._open(folder, tree)
            except (DataError, MismatchError):
                # A writer may have finished in between, and removed the files of the manifest read before.
                before, tree = tree, storage.read_manifest(folder)
                if tree == before:
                    raise

    def add(
        self,
        run: Run,
        sections: Sequence[Section],
        *,
        allow_held_out: bool = False,
        held_out: Collection[str] = (),
    ) -> "Reference":
        """Return the reference with these sections' spots after its own.

        Args:
            run: the run it belongs to.
            sections: measured tissue that the run may or may not have been trained on.
            allow_held_out: take sections that the run holds out to be tested on; `bleep evaluate` then refuses to score.
            held_out: sha256 of the pictures held out, where they are known; names are known to the run.

        Raises:
            MismatchError: another run; a section is held out, is there already, is not measured on the run's panel, shares
                ids with what is there, or was not trained on by a run with a batch correction, which knows no other.

        """
        self.check(run)
        entries: list[dict[str, Any]] = []
        for section in sections:
            if run.panel.batch is not None:
                check_corrected(run, section)
            is_held_out = section.name in run.facts.test or section.slide.digest() in held_out
            if is_held_out and not allow_held_out:
                raise MismatchError(
                    f"section {section.name}: is held out by the run, to be tested on; with --allow-held-out it is added "
                    "all the same, and the run can then no longer be evaluated with this index"
                )
            entry = noted(section, "held out" if is_held_out else "added")
            same = [known["name"] for known in (*self.manifest["sections"], *entries) if same_section(known, entry)]
            if same:
                raise MismatchError(f"section {section.name}: is in the index already, as {same[0]}: {_some(section.ids)}")
            entries.append(entry)
        return self._joined(embedded(run, sections, self.expression.form, self.keys), entries)

    def remove(self, section: str | None = None, patient: str | None = None) -> "Reference":
        """Return the reference without a section, or without all sections of a patient.

        Raises:
            DataError: there is none of this name, or nothing would be left.

        """
        what, name = ("section", section) if section is not None else ("patient", patient)
        gone = (self.spots[what] == name).to_numpy()
        if not gone.any():
            there = ", ".join(map(str, self.spots[what].unique()))
            raise DataError(f"the index holds no spots of {what} {name!r}; it holds {there}")
        if gone.all():
            raise DataError(f"the index holds spots of {what} {name!r} alone; to be rid of them delete its folder")
        rows, kept = np.flatnonzero(gone), np.flatnonzero(~gone)
        left = self.spots[~gone]
        entries = [one for one in self.manifest["sections"] if one["name"] in set(left["section"])]
        return self._changed(
            self.index.remove(rows), self.vectors[kept], SplicedExpression((self.expression,), (kept,)), left, entries
        )

    def merge(self, other: "Reference") -> "Reference":
        """Return the reference with what another of the same run holds beyond it; sections that both hold stay once.

        Raises:
            MismatchError: they are of different runs; or different tissue has the same ids, or the same tissue two names.

        """
        check_same(other.manifest, self.manifest, "this one's", "only indexes of one run can be merged")
        if other.keys != self.keys:
            raise MismatchError(
                f"the other index finds spots by {other.keys}, this one by {self.keys}: build both with one index.keys"
            )
        mine, entries = self.manifest["sections"], []
        for entry in other.manifest["sections"]:
            same = [known for known in mine if same_section(known, entry)]
            if any(known["name"] != entry["name"] for known in same):
                raise MismatchError(
                    f"section {entry['name']} of the other index is tissue that is here already, as {same[0]['name']}"
                )
            entries += [] if same else [entry]
        kept = np.flatnonzero(other.spots["section"].isin(names(entries)).to_numpy())
        if not len(kept):
            return self
        vectors = np.asarray(other.vectors[kept])
        return self._joined(Held(vectors, SplicedExpression((other.expression,), (kept,)), other.spots.iloc[kept]), entries)

    def _joined(self, held: Held, entries: list[dict[str, Any]]) -> "Reference":
        twice = held.spots.index[held.spots.index.isin(self.spots.index)]
        if len(twice):
            raise MismatchError(
                f"{len(twice)} of the spots to add have ids that are in the index already: {_some(twice)}; "
                "give the section another name, or remove the old one with `bleep index remove`"
            )
        known = set(names(self.manifest["sections"])) & set(names(entries))
        if known:
            raise MismatchError(f"the index already holds other spots of a section {min(known)}; give the new one another name")
        expression = SplicedExpression((self.expression, held.expression), (np.arange(len(self)), np.arange(len(held.spots))))
        vectors, spots = np.concatenate([self.vectors, held.vectors]), known_texts(pd.concat([self.spots, held.spots]))
        check_places(spots, [*self.manifest["sections"], *entries], entries)
        if keeps(self.index, held.vectors):
            index = self.index.add(held.vectors, held.spots)
        else:
            log.warning("the new spots lie beyond the range of the index's 8-bit numbers: it is trained anew on all of them")
            index = build_index(vectors, IndexConfig(kind="sq"), seed=0)
        return self._changed(index, vectors, expression, spots, [*self.manifest["sections"], *entries])

    def _changed(
        self,
        index: VectorIndex,
        vectors: Float32[np.ndarray, "left dim"],
        expression: ExpressionStore,
        spots: pd.DataFrame,
        sections: list[dict[str, Any]],
    ) -> "Reference":
        measured = measured_on(index, vectors, self.queries, self.manifest["measured"]["k"])
        before = self.manifest["measured"]["recall"]
        if measured["recall"] < before - 0.02:
            log.warning(
                "the index finds %.0f%% of the true neighbours, %.0f%% before this change; `bleep index build` makes it anew",
                100 * measured["recall"],
                100 * before,
            )
        facts = {"spots": len(spots), "sections": sections, "measured": measured}
        return Reference(index, vectors, expression, spots, self.queries, {**self.manifest, **facts})

    def _write(self, folder: Path) -> None:
        before, url = expression_remote.named(folder), str(self.manifest["expression"].get("url", ""))
        tree = storage.write(
            folder,
            self.manifest,
            (
                lambda place, suffix: self.index.save(place / f"index{suffix}{self.index.suffix}"),
                lambda place, suffix: np.save(place / f"vectors{suffix}.npy", self.vectors),
                lambda place, suffix: np.save(place / f"queries{suffix}.npy", self.queries),
                lambda place, suffix: write_expression(self.expression, place, f"expression{suffix}", url),
                lambda place, suffix: self.spots.to_parquet(place / f"spots{suffix}.parquet"),
            ),
        )
        self.index.settle(folder / f"{storage.stem(tree, 'index')}{self.index.suffix}")
        expression_remote.settle(folder, before)

    @classmethod
    def _open(cls, folder: Path, tree: dict[str, Any]) -> "Reference":
        if "format" not in tree:
            return cls(**open_first(folder, tree))
        gpu, gpus = tree.get("gpu", "auto"), tree.get("gpus", "replicas")
        stem = storage.stem(tree, "index")
        path = folder / next((name for name in tree["files"] if Path(name).stem == stem), "index.faiss")
        index = load_index(path, kind=str(tree.get("kind", "")), gpu=gpu, gpus=gpus)
        vectors, queries = (
            mapped(folder / f"{storage.stem(tree, what)}.npy", ("float32",), 2) for what in ("vectors", "queries")
        )
        expression = open_expression(folder, storage.stem(tree, "expression"), len(tree["genes"]))
        spots = read_table(folder / f"{storage.stem(tree, 'spots')}.parquet")
        manifest = {key: value for key, value in tree.items() if key not in storage.KEPT}
        return cls(index, vectors, expression, spots, queries, manifest)


def change(folder: str | Path, how: Callable[[Reference], Reference]) -> Reference:
    """Change the reference in a folder, whole or not at all, and return what is then there.

    Raises:
        DataError, MismatchError: as `how`; or another process is changing it.

    """
    folder = Path(folder)
    if not folder.is_dir():
        raise DataError(f"{folder}: there is no index; make it with `bleep index build`")
    with storage.locked(folder):
        how(Reference.load(folder))._write(folder)
    return Reference.load(folder)


def _some(ids: Sequence[str] | pd.Index) -> str:
    return ", ".join(map(str, ids[:3])) + (f" and {len(ids) - 3} more" if len(ids) > 3 else "")
