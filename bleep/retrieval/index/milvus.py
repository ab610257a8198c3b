"""A collection of Milvus as an index: a server or cluster where a reference outgrows one machine, Milvus Lite to try it."""

import contextlib
import hashlib
import json
import os
import socket
import uuid
from collections.abc import Iterator
from dataclasses import asdict, replace
from itertools import chain
from pathlib import Path
from typing import Any, final

import numpy as np
import pandas as pd
from jaxtyping import Float32, Int64

from bleep.errors import ConfigError, DataError, MismatchError
from bleep.files import read_json, write_json
from bleep.progress import Progress
from bleep.records import Neighbors
from bleep.retrieval.index.approximate import LINKS, gigabytes, lists
from bleep.retrieval.index.base import check_added, check_queries, check_vectors, kept_rows, say_copies
from bleep.retrieval.index.flat import ranked
from bleep.retrieval.index.milvus_client import (
    BUILD,
    MESSAGE,
    MOST,
    OURS,
    PREFIX,
    Collection,
    Server,
    aliased,
    aliases,
    index_of,
    open_server,
    rows_of,
    schema_of,
    step_of,
)
from bleep.retrieval.index.where import Where

QUERIES = 512
"""Queries of one call: an exact search through millions must end before its call does."""
SPARE = 32
"""Neighbours asked for beyond k, so that of equal ones the lower row comes first."""
EFFORTS = {"ivf": "nprobe", "sq": "nprobe", "ivfpq": "nprobe", "hnsw": "ef", "diskann": "search_list"}
"""The search parameter of each approximate kind."""

Page = tuple[Float32[np.ndarray, "rows dim"], pd.DataFrame]


@final
class MilvusIndex:
    """Search in a Milvus collection by inner product; of equal similarities the lower row comes first.

    A collection is never changed once it is filled: `add` and `remove` fill another, so readers meet whole ones alone.
    """

    suffix = ".json"

    def __init__(self, server: Server, facts: Collection) -> None:
        self._server, self.facts = server, facts

    @classmethod
    def build(
        cls,
        uri: str,
        kind: str,
        vectors: Float32[np.ndarray, "spots dim"],
        spots: pd.DataFrame | None = None,
        run: str = "",
    ) -> "MilvusIndex":
        """Fill a collection with vectors and the columns of their spots; row numbers are their order.

        Raises:
            ConfigError: the place is written in another way, or pymilvus is not installed.
            DataError: values are not finite, or no server answers.

        """
        check_vectors(vectors)
        if kind == "hnsw":
            say_copies(vectors, 2 * LINKS)
        table = pd.DataFrame(index=range(len(vectors))) if spots is None else spots
        facts = Collection(uri, "", run[:12], kind, vectors.shape[1], len(vectors))
        step = step_of(vectors.shape[1])
        pages = ((vectors[at : at + step], table.iloc[at : at + step]) for at in range(0, len(vectors), step))
        return cls._filled(open_server(uri), facts, table, pages)

    @classmethod
    def load(cls, path: Path) -> "MilvusIndex":
        """Open the collection that a file names.

        Raises:
            DataError: the file is damaged, no server answers, or the collection is gone or holds something else.
            MismatchError: the collection is of another run.

        """
        tree = read_json(path, "the name of a Milvus collection")
        try:
            facts = Collection(**tree)
        except TypeError:
            raise DataError(f"{path}: is damaged; make it again with `bleep index build`") from None
        if "://" not in facts.uri and not Path(facts.uri).exists():
            # Opening it would make an empty one, in the way of one that is put back.
            raise DataError(
                f"{facts.uri}: there is no such store of Milvus Lite, which {path} names; put it back, or run `bleep index "
                "build` again"
            )
        server = open_server(facts.uri)
        if not server.call("has_collection", facts.name):
            raise DataError(
                f"{facts.uri}: holds no collection {facts.name}, which {path} names: it was dropped, or this is another "
                "server; name the right one, or run `bleep index build` again"
            )
        server.call("load_collection", facts.name, seconds=BUILD)
        run = next((hit["run"] for hit in server.call("query", facts.name, filter="row == 0", output_fields=["run"])), None)
        if run != facts.run:
            raise MismatchError(
                f"{facts.uri}: its collection {facts.name} is of run {run}, {path} is of run {facts.run}; "
                "run `bleep index build` again"
            )
        count = int(server.call("get_collection_stats", facts.name)["row_count"])
        if count != facts.spots:
            raise DataError(
                f"{facts.uri}: its collection {facts.name} holds {count} vectors, {path} says {facts.spots}; "
                "run `bleep index build` again"
            )
        return cls(server, facts)

    def save(self, path: Path) -> None:
        """Write the file that names the collection, whole or not at all."""
        before = [json.loads(other.read_text()).get("reference") for other in path.parent.glob("index*.json")]
        write_json(path, asdict(replace(self.facts, reference=next(filter(None, before), uuid.uuid4().hex[:12]))))

    def settle(self, path: Path) -> None:
        """Give the collection that a file names the reference's alias, and drop what it replaces and what the killed left."""
        facts = Collection(**read_json(path, "the name of a Milvus collection"))
        alias = PREFIX + _short(f"{facts.reference} {path.parent.resolve()}")
        before = aliased(self._server, alias)
        if before is None:
            self._server.call("create_alias", facts.name, alias)
        elif before != facts.name:
            self._server.call("alter_alias", facts.name, alias)
            self._server.call("drop_collection", before)
        for name in self._server.collections(PREFIX + _short(socket.gethostname()) + "_"):
            if not _alive(int(name.split("_")[2])) and not aliases(self._server, name):
                self._server.call("drop_collection", name)

    @property
    def kind(self) -> str:
        """Name of its kind."""
        return self.facts.kind

    @property
    def dim(self) -> int:
        """Width of its vectors."""
        return self.facts.dim

    @property
    def effort(self) -> int:
        """Lists looked through (`nprobe`), or candidates kept (`ef`, `search_list`)."""
        return self.facts.effort

    def __len__(self) -> int:
        return self.facts.spots

    def stored_bytes(self) -> int:
        """Return about how many bytes the server keeps."""
        kind = "flat" if self.kind == "diskann" else self.kind
        return int(1e9 * gigabytes(kind, len(self), self.dim))  # type: ignore[arg-type]

    def with_effort(self, effort: int) -> "MilvusIndex":
        """Return the same collection, searched with another effort."""
        return MilvusIndex(self._server, replace(self.facts, effort=effort))

    def search(self, queries: Float32[np.ndarray, "queries dim"], k: int, where: Where | None = None) -> Neighbors:
        """Return the k rows most similar to each query, best first; all of them when there are fewer.

        Raises:
            MismatchError: the queries are of another width.
            ConfigError: k is more than a server answers.
            DataError: queries are not finite, or the server is gone.

        """
        check_queries(queries, k, self.dim)
        answering = len(self) if where is None else len(where.rows)
        k = min(k, answering)
        if k > MOST:
            raise ConfigError(f"{k} neighbours were asked for; Milvus answers {MOST} a query at most: ask for fewer by --k")
        asked = min(k + SPARE, answering, MOST)
        step = max(1, min(QUERIES, MESSAGE // (4 * self.dim), MESSAGE // (16 * asked)))
        similarity, rows = np.empty((len(queries), asked), np.float32), np.empty((len(queries), asked), np.int64)
        for at in range(0, len(queries), step):
            part = np.ascontiguousarray(queries[at : at + step])
            similarity[at : at + step], rows[at : at + step] = self._answered(part, asked, where)
        return ranked(_without_rounding(similarity), rows, k)

    def add(self, vectors: Float32[np.ndarray, "spots dim"], spots: pd.DataFrame | None = None) -> "MilvusIndex":
        """Return an index with these vectors after its own, in a collection of their own."""
        check_added(vectors, self.dim)
        if self.kind == "hnsw":
            say_copies(vectors, 2 * LINKS)
        more = pd.DataFrame(index=range(len(vectors))) if spots is None else spots

        table, step = pd.concat([self._table(), more]), step_of(self.dim)
        unknown = {name: np.nan if pd.api.types.is_numeric_dtype(column) else "" for name, column in table.items()}

        def pages() -> Iterator[Page]:
            new = ((vectors[at : at + step], more.iloc[at : at + step]) for at in range(0, len(vectors), step))
            # The old spots need not have all columns of the new, nor these of those.
            for found, part in chain(self._pages(), new):
                yield found, part.assign(**{str(name): value for name, value in unknown.items() if name not in part})

        return self._filled(self._server, replace(self.facts, spots=len(self) + len(vectors)), table, pages())

    def remove(self, rows: Int64[np.ndarray, " rows"]) -> "MilvusIndex":
        """Return an index without these rows, the others numbered anew, in a collection of their own."""
        stay = np.zeros(len(self), bool)
        stay[kept_rows(rows, len(self))] = True

        def pages() -> Iterator[Page]:
            at = 0
            for vectors, table in self._pages():
                chosen = stay[at : at + len(vectors)]
                at += len(vectors)
                yield vectors[chosen], table[chosen]

        return self._filled(self._server, replace(self.facts, spots=int(stay.sum())), self._table(), pages())

    @classmethod
    def _filled(cls, server: Server, facts: Collection, table: pd.DataFrame, pages: Iterator[Page]) -> "MilvusIndex":
        name = f"{PREFIX}{_short(socket.gethostname())}_{os.getpid()}_{uuid.uuid4().hex[:12]}"
        facts = replace(facts, name=name, uri=server.uri)
        try:
            server.call("create_collection", name, schema=schema_of(facts, table), consistency_level="Strong")
            with Progress(total=facts.spots, desc="filling Milvus", unit="spot", leave=False, delay=2) as bar:
                first = 0
                for vectors, part in pages:
                    if len(vectors):
                        server.call("insert", name, rows_of(first, vectors, part, facts.run))
                        first += len(vectors)
                        bar.update(len(vectors))
            server.call("flush", name, seconds=BUILD)
            held = int(server.call("get_collection_stats", name)["row_count"])
            if held != facts.spots:
                # A call whose answer was lost is made again, and its rows are then there twice.
                raise DataError(f"{facts.uri}: its new collection holds {held} rows of {facts.spots}; run the command again")
            server.call("create_index", name, index_of(facts, file=server.is_file), seconds=BUILD)
            server.call("load_collection", name, seconds=BUILD)
        except BaseException:
            with contextlib.suppress(DataError):
                server.call("drop_collection", name)
            raise
        return cls(server, facts)

    def _answered(self, queries: np.ndarray, asked: int, where: Where | None) -> tuple[Any, Any]:
        effort = self.effort if where is None else min(self.effort * len(self) // len(where.rows), 65536)
        found = self._search(queries, asked, where, effort)
        short = [at for at, hits in enumerate(found) if len(hits.ids) < asked]
        if short:
            # Too few were within reach: look through everything.
            every = lists(len(self)) if EFFORTS.get(self.kind) == "nprobe" else min(max(len(self), asked), 32768)
            for at, hits in zip(short, self._search(queries[short], asked, where, every), strict=True):
                found[at] = hits
        if any(len(hits.ids) < asked for hits in found):
            raise DataError(
                f"{self.facts.uri}: collection {self.facts.name} gives {min(len(hits.ids) for hits in found)} of {asked} "
                "neighbours; ask for fewer by --k, or build an index of kind flat or ivf"
            )
        return np.array([hits.distances for hits in found], np.float32), np.array([hits.ids for hits in found], np.int64)

    def _search(self, queries: np.ndarray, asked: int, where: Where | None, effort: int) -> list[Any]:
        parameters: dict[str, int] = {}
        if self.kind in EFFORTS:
            highest = {"nprobe": max(1, lists(len(self))), "ef": 32768, "search_list": 65535}[EFFORTS[self.kind]]
            least = 1 if EFFORTS[self.kind] == "nprobe" else asked
            parameters[EFFORTS[self.kind]] = min(max(effort, least), highest)
        return list(
            self._server.call(
                "search",
                self.facts.name,
                list(queries),
                filter="" if where is None else where.text,
                limit=asked,
                output_fields=["row"],
                search_params={"metric_type": "IP", "params": parameters},
            )
        )

    def _pages(self) -> Iterator[Page]:
        """Yield vectors and columns in the order of rows."""
        columns, step = list(self._table()), step_of(self.dim)
        for at in range(0, len(self), step):
            found = self._server.call(
                "query",
                self.facts.name,
                filter=f"row >= {at} and row < {at + step}",
                output_fields=["row", "vector", *columns],
                limit=step,
            )
            found = sorted(found, key=lambda hit: hit["row"])
            if [hit["row"] for hit in found] != list(range(at, min(at + step, len(self)))):
                raise DataError(f"{self.facts.uri}: collection {self.facts.name} lacks rows; run `bleep index build` again")
            yield np.array([hit["vector"] for hit in found], np.float32), pd.DataFrame(found, columns=columns)

    def _table(self) -> pd.DataFrame:
        """Return the columns without their values, but of their kinds."""
        fields = self._server.call("describe_collection", self.facts.name)["fields"]
        lengths = {field["name"]: field["params"].get("max_length") for field in fields if field["name"] not in OURS}
        return pd.DataFrame({name: ["x" * int(length)] if length else [0.0] for name, length in lengths.items()})


def _without_rounding(similarity: Float32[np.ndarray, "queries found"]) -> Float32[np.ndarray, "queries found"]:
    """Return similarities of which those that differ by rounding alone are the same: equal vectors may get either of two."""
    order = np.argsort(-similarity, axis=1, kind="stable")
    ordered = np.take_along_axis(similarity, order, axis=1)
    near = 4 * np.finfo(np.float32).eps * np.abs(ordered).max(axis=1, initial=0.0, keepdims=True)
    begins = np.ones(ordered.shape, bool)
    begins[:, 1:] = ordered[:, :-1] - ordered[:, 1:] > near
    first = np.maximum.accumulate(np.where(begins, np.arange(ordered.shape[1]), 0), axis=1)
    same = np.empty_like(similarity)
    np.put_along_axis(same, order, np.take_along_axis(ordered, first, axis=1), axis=1)
    return same


def _short(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True
