"""Talking to Milvus: one connection a process and place, calls tried again, what went wrong in a sentence, its tables."""

import functools
import json
import logging
import os
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, final
from urllib.parse import urlsplit

import numpy as np
import pandas as pd

from bleep.errors import BleepError, ConfigError, DataError
from bleep.retrieval.index.approximate import LINKS, lists, subvectors

TOKEN, DATABASE = "MILVUS_TOKEN", "MILVUS_DB"
"""Variables of the environment that hold what is never written into a run."""
OLDEST = (2, 3)
"""Version of the server that knows all that is asked of it."""
SECONDS = 120.0
"""How long one call may take, but for those that build."""
BUILD = 24 * 3600.0
"""How long a server may take to build an index, in seconds."""
PAUSES = (0.2, 1.0, 4.0)
"""Seconds waited before a call is tried again."""
MESSAGE = 2**24
"""Bytes of vectors sent, or of results asked for, in one call; servers take 64 MB and more."""
PASSING = re.compile(
    r"unavailable|timed? ?out|deadline|retry|connect|not ready|recovering|rate limit|no available|channel|not loaded"
    r"|open local",
    re.I,
)
"""What a server says when the same call may succeed a little later."""

Result = TypeVar("Result")


@final
@dataclass(frozen=True, slots=True)
class Server:
    """A Milvus server, or a file of Milvus Lite, with calls that are tried again and fail in a sentence."""

    uri: str
    """Where it is."""

    def call(self, name: str, /, *given: Any, seconds: float = SECONDS, **more: Any) -> Any:
        """Call a method of pymilvus's client.

        Raises:
            DataError: the server is gone, or refuses.

        """
        makes = name.startswith("create_")
        return retried(lambda: getattr(_client(self.uri), name)(*given, timeout=seconds, **more), self.uri, makes=makes)

    def check(self) -> str:
        """Return the server's version.

        Raises:
            raise ConfigError(
                "index.store is milvus, and pymilvus is not installed: pip install -e '.[milvus]' in bleep's clone"
            ) from None
            DataError: no server answers, or it is too old.

        """
        version = str(retried(lambda: _client(self.uri).get_server_version(), self.uri))
        found = re.search(r"(\d+)\.(\d+)", version)
        if not self.is_file and found and tuple(map(int, found.groups())) < OLDEST:
            raise DataError(f"{self.uri}: is a Milvus server of version {version}; expected {OLDEST[0]}.{OLDEST[1]} or later")
        return version

    @property
    def is_file(self) -> bool:
        """Whether it is a file of Milvus Lite."""
        return "://" not in self.uri

    def collections(self, prefix: str) -> Iterator[str]:
        """Yield the names of collections that begin so."""
        yield from (name for name in self.call("list_collections") if name.startswith(prefix))


def open_server(uri: str) -> Server:
    """Return the server at a place, which answers and is of a version that is known.

    Raises:
        ConfigError: `uri` is none, or pymilvus or Milvus Lite is not installed.
        DataError: no server answers, or it is too old.

    """
    parts = urlsplit(uri)
    if "@" in parts.netloc:
        raise ConfigError(f"index.uri: holds a name or a password, which would be written into the run; set {TOKEN} instead")
    if not (parts.scheme in ("http", "https", "tcp") and parts.netloc) and not uri.endswith(".db"):
        raise ConfigError(f"index.uri: found {uri!r}; expected http://HOST:19530, or a file ending in .db for Milvus Lite")
    server = Server(uri if "://" in uri else str(Path(uri).absolute()))
    if server.is_file and Path(server.uri).is_file():
        # Milvus Lite 3 writes a folder; what versions before it wrote, a database of SQLite, it cannot open.
        raise DataError(
            f"{server.uri}: is a file, and no store of Milvus Lite 3 or later, which is a folder; choose another index.uri"
        )
    server.check()
    return server


def retried(call: Callable[[], Result], uri: str, *, makes: bool = False) -> Result | None:
    """Return what a call returns, tried again after a pause where the fault may pass.

    Of a call that `makes` something, what a second try finds there is what the first made, whose answer was lost.

    Raises:
        DataError: the fault did not pass, or is none that could.

    """
    for tries, pause in enumerate((*PAUSES, None)):
        try:
            return call()
        except BleepError:
            raise
        except Exception as error:  # pymilvus raises its own, gRPC's and, of Milvus Lite, anything
            said = " ".join(str(getattr(error, "message", "") or error).split())[:200]
            if makes and tries and "already exist" in said:
                return None
            if not PASSING.search(said):
                raise DataError(f"{uri}: Milvus refuses: {said}") from None
            if pause is None:
                way_out = "close the process that uses it" if "://" not in uri else "start it, or name another by index.uri"
                raise DataError(f"{uri}: no Milvus answers there ({said}); {way_out}") from None
            time.sleep(pause)
    raise AssertionError


@functools.lru_cache(maxsize=8)
def _connected(uri: str, token: str, database: str) -> Any:
    try:
        from pymilvus import MilvusClient
    except ImportError:
        raise ConfigError(
            "index.store is milvus, and pymilvus is not installed: pip install -e '.[milvus]' in bleep's clone"
        ) from None
    # They tell of each fault with a traceback; faults are told in a sentence here.
    for name in ("pymilvus", "milvus_lite"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    if "://" not in uri:
        # Its server, in this process, tells of each call that it does not know.
        logging.getLogger("grpc._server").setLevel(logging.CRITICAL)
        try:
            import milvus_lite  # noqa: F401
        except ImportError:
            raise ConfigError(
                f"{uri}: is a file of Milvus Lite, which is not installed: pip install --no-deps milvus-lite "
                "(its faiss-cpu would take the place of faiss-gpu)"
            ) from None
        Path(uri).parent.mkdir(parents=True, exist_ok=True)
    return MilvusClient(uri, token=token, db_name=database, timeout=10)


def _client(uri: str) -> Any:
    return _connected(uri, os.environ.get(TOKEN, ""), os.environ.get(DATABASE, ""))


MOST = 16384
"""Neighbours of a query and rows of a page that a server answers at most."""


PREFIX = "bleep_"
"""Begins the names of collections and aliases."""


OURS = ("row", "vector", "run")
"""Fields beside the columns of the spots."""


@final
@dataclass(frozen=True, slots=True)
class Collection:
    """What the file beside a reference says of its collection."""

    uri: str
    """The server, or the file of Milvus Lite."""
    name: str
    """The collection."""
    run: str
    """Beginning of the sha256 of the run's weights."""
    kind: str
    """Name of the kind of index."""
    dim: int
    """Width of its vectors."""
    spots: int
    """How many there are."""
    effort: int = 0
    """Search parameter of its kind."""
    reference: str = ""
    """Tells references apart that share a server."""


def schema_of(facts: Collection, table: pd.DataFrame) -> Any:
    """Return the fields of a collection: row, vector, run and the columns of the spots."""
    from pymilvus import DataType, MilvusClient

    schema = MilvusClient.create_schema(auto_id=False, enable_dynamic_field=False)
    schema.add_field("row", DataType.INT64, is_primary=True)
    schema.add_field("vector", DataType.FLOAT_VECTOR, dim=facts.dim)
    schema.add_field("run", DataType.VARCHAR, max_length=64)
    for name, column in columns_of(table).items():
        if pd.api.types.is_numeric_dtype(column):
            schema.add_field(name, DataType.DOUBLE)
        else:
            longest = max((len(text.encode()) for text in column.fillna("").astype(str).unique()), default=0)
            schema.add_field(name, DataType.VARCHAR, max_length=min(65535, max(64, longest)))
    return schema


def columns_of(table: pd.DataFrame) -> dict[str, pd.Series]:
    """Return the columns that a condition can name."""
    return {str(name): table[name] for name in table if str(name).isidentifier() and name not in OURS}


def index_of(facts: Collection, *, file: bool) -> Any:
    """Return the parameters of a collection's index; those of a `file` have the form of older clients too."""
    from pymilvus import MilvusClient

    count = lists(facts.spots)
    kind, parameters = {
        "flat": ("FLAT", {}),
        "ivf": ("IVF_FLAT", {"nlist": count}),
        "sq": ("IVF_SQ8", {"nlist": count}),
        "ivfpq": ("IVF_PQ", {"nlist": count, "m": subvectors(facts.dim), "nbits": 8}),
        "hnsw": ("HNSW", {"M": LINKS, "efConstruction": 200}),
        "diskann": ("DISKANN", {}),
    }[facts.kind]
    # Milvus Lite reads the form of older clients, and takes its own defaults for what is given in the newer.
    given = {**parameters, "params": json.dumps(parameters)} if file else parameters
    made = MilvusClient.prepare_index_params()
    made.add_index("vector", index_type=kind, metric_type="IP", params=given)
    return made


def rows_of(first: int, vectors: np.ndarray, table: pd.DataFrame, run: str) -> list[dict[str, Any]]:
    """Return rows as they are sent, numbered from `first`."""
    plain = {
        name: column.astype(float).tolist() if pd.api.types.is_numeric_dtype(column) else column.fillna("").astype(str).tolist()
        for name, column in columns_of(table).items()
    }
    return [
        {"row": first + at, "vector": vector, "run": run, **{name: column[at] for name, column in plain.items()}}
        for at, vector in enumerate(np.ascontiguousarray(vectors))
    ]


def step_of(dim: int) -> int:
    """Return how many rows are sent or fetched in one call."""
    return max(1, min(MOST, MESSAGE // (4 * dim + 256)))


def aliased(server: Server, alias: str) -> str | None:
    """Return the collection that an alias stands for."""
    names = (name for name in server.collections(PREFIX) if alias in aliases(server, name))
    return next(names, None)


def aliases(server: Server, name: str) -> list[str]:
    """Return the aliases of a collection."""
    return list(server.call("list_aliases", name)["aliases"])
