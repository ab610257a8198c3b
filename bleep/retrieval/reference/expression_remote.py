"""Measured expression where a disk does not hold it: a Zarr store with shards, at any URL that fsspec knows.

A store is never changed once it is whole: a change writes another, so readers meet whole ones alone. In the folder of the
reference a small file names it, with a digest of its values. Names and passwords come from the environment, as the file
system of the URL reads them, and are never written down.
"""

import contextlib
import hashlib
import json
import uuid
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, final
from urllib.parse import urlsplit

import numpy as np
from scipy import sparse

from bleep.errors import BleepError, ConfigError, DataError, MismatchError
from bleep.files import read_json, write_json
from bleep.outputs import check_codecs
from bleep.progress import Progress
from bleep.retrieval.reference.expression_store import ExpressionStore, FormName, Rows, Values, as_kept

BLOCK = 2**17
"""Bytes of values that are compressed, and read, together."""
SHARD = 2**25
"""Bytes of values of a shard, which is one object or file; a writer holds one of them."""
HELD = 2**28
"""Bytes of blocks that a reader keeps, those used last."""
AT_ONCE = 2**26
"""Bytes of values that are read at a time."""
REQUESTS = 64
"""Reads under way at a time: each waits for its answer far longer than it works."""
PREFIX = "expression-"
EXTRA = "pip install -e '.[remote]' in bleep's clone"


@final
@dataclass(frozen=True, slots=True)
class Named:
    """What the folder of a reference says of its store."""

    url: str
    """The place that holds it, as `index.expression_url` says."""
    name: str
    """Its own name there."""
    form: FormName
    spots: int
    genes: int
    digest: str
    """sha256 of its values, row after row."""
    reference: str
    """Which reference it belongs to, through all its changes."""

    @property
    def place(self) -> str:
        """URL of the store itself."""
        return f"{self.url.rstrip('/')}/{self.name}"


@final
class RemoteExpression:
    """Values in a Zarr store; blocks that hold spots asked for are read, and those used last are kept."""

    def __init__(self, array: Any, facts: Named) -> None:
        self.facts, self._array = facts, array
        self._step = int(array.chunks[0])
        self._kept: OrderedDict[int, np.ndarray] = OrderedDict()

    @property
    def form(self) -> FormName:
        return self.facts.form

    @property
    def shape(self) -> tuple[int, int]:
        return self.facts.spots, self.facts.genes

    @property
    def dtype(self) -> np.dtype:
        return np.dtype(self._array.dtype)

    def rows(self, rows: Rows) -> Values:
        out = np.empty((len(rows), self.facts.genes), np.float32)
        numbers, which = np.unique(rows // self._step, return_inverse=True)
        order, ends = np.argsort(which, kind="stable"), np.cumsum(np.bincount(which, minlength=len(numbers)))
        many = max(1, AT_ONCE // max(1, self._step * self.facts.genes * self.dtype.itemsize))
        for start in range(0, len(numbers), many):
            blocks = self._blocks([int(number) for number in numbers[start : start + many]])
            for at, (number, values) in enumerate(blocks.items(), start):
                mine = order[ends[at - 1] if at else 0 : ends[at]]
                out[mine] = values[rows[mine] - number * self._step]
        return out

    def sparse_rows(self, rows: Rows) -> sparse.csr_matrix:
        return sparse.csr_matrix(self.rows(rows))

    def __len__(self) -> int:
        return self.facts.spots

    def _blocks(self, numbers: list[int]) -> dict[int, np.ndarray]:
        """Return blocks by number, in this order."""
        lacking = [number for number in numbers if number not in self._kept]
        if lacking:
            ends = [min((number + 1) * self._step, len(self)) for number in lacking]
            places = [np.arange(number * self._step, end) for number, end in zip(lacking, ends, strict=True)]
            read = self._read(np.concatenate(places))
            lengths = np.cumsum([len(place) for place in places])[:-1]
            # Copies, as a part that is kept would hold all that was read with it.
            self._kept |= {number: part.copy() for number, part in zip(lacking, np.split(read, lengths), strict=True)}
        found = {number: self._kept[number] for number in numbers}
        for number in numbers:
            self._kept.move_to_end(number)
        most = max(len(numbers), HELD // max(1, self._step * self.facts.genes * self.dtype.itemsize))
        while len(self._kept) > most:
            self._kept.popitem(last=False)
        return found

    def _read(self, rows: Rows) -> np.ndarray:
        with _said(self.facts.place):
            import zarr

            with zarr.config.set({"async.concurrency": REQUESTS}):
                values: np.ndarray = np.asarray(self._array.oindex[rows, :])
        # Zarr takes a missing shard for one that was never filled.
        if np.isnan(values).any():
            raise DataError(f"{self.facts.place}: lacks a part of its values; run `bleep index build` again")
        return values


def check_url(url: str) -> str:
    """Return a URL as it is kept, without a name or password.

    Raises:
        ConfigError: it holds one, or is neither a URL nor an absolute path.

    """
    if "@" in urlsplit(url).netloc:
        raise ConfigError(
            "index.expression_url: holds a name or a password, which would be written into the run; set them in the environment"
        )
    if "://" not in url and not Path(url).is_absolute():
        raise ConfigError(
            f"index.expression_url: found {url!r}; expected a URL such as s3://BUCKET/atlas, or a path that begins with /"
        )
    return url.rstrip("/")


def write_remote(store: ExpressionStore, url: str, path: Path) -> None:
    """Write a store for the reference of a folder, shard by shard, whole or not at all, and the file that names it.

    The file is there before the store is, so that the next writer finds what a killed one left.

    Raises:
        ConfigError: see `check_url`; or what reads such URLs is not installed.
        DataError: the place cannot be written to.

    """
    reference = next((facts.reference for facts in named(path.parent)), uuid.uuid4().hex[:12])
    name = f"{_prefix(reference, path.parent)}{uuid.uuid4().hex[:12]}.zarr"
    facts = Named(check_url(url), name, store.form, *store.shape, "", reference)
    write_json(path, asdict(facts))
    try:
        with _said(facts.place, "written"):
            digest = _filled(store, facts)
        write_json(path, asdict(replace(facts, digest=digest)))
    except BaseException:
        with contextlib.suppress(BleepError, OSError):
            _remove(facts.url, facts.name)
        raise


def open_remote(path: Path, genes: int) -> RemoteExpression:
    """Open the store that a file names.

    Raises:
        ConfigError: what reads such URLs is not installed.
        DataError: the file is damaged, or the store is gone or cannot be reached.
        MismatchError: the store is another than the file was written for.

    """
    facts = _facts(path)
    with _said(facts.place):
        array = _opened(facts)
    found = {"shape": tuple(array.shape), "digest": dict(array.attrs).get("digest")}
    expected = {"shape": (facts.spots, genes), "digest": facts.digest}
    for what, value in found.items():
        if value != expected[what]:
            raise MismatchError(
                f"{facts.place}: its {what} is {value}, {path} says {expected[what]}: it was changed or replaced; "
                "run `bleep index build` again"
            )
    return RemoteExpression(array, facts)


def named(folder: Path) -> list[Named]:
    """Return the stores that the files of a reference's folder name, the damaged left out."""
    found = []
    for path in sorted(folder.glob("expression*.json")):
        with contextlib.suppress(DataError):
            found.append(_facts(path))
    return found


def settle(folder: Path, before: list[Named]) -> None:
    """Remove the stores that a change of a folder's reference replaced, and those that killed writers of it left."""
    now = {facts.place for facts in named(folder)}
    for url, reference in {(facts.url, facts.reference) for facts in (*before, *named(folder))}:
        # What cannot be removed is in nobody's way, and the next change tries again.
        with contextlib.suppress(BleepError, OSError), _said(url):
            for name in _names(url, _prefix(reference, folder)):
                if f"{url}/{name}" not in now:
                    _remove(url, name)


def digest_of(values: Values, dtype: np.dtype, joined: Any) -> None:
    """Add values to the digest of a store of this kind of number."""
    joined.update(np.ascontiguousarray(values.astype(dtype)).data)


def _filled(store: ExpressionStore, facts: Named) -> str:
    """Write all values, and return their digest."""
    import zarr
    from zarr.codecs import ZstdCodec

    width = max(1, facts.genes * store.dtype.itemsize)
    rows = max(1, BLOCK // width)
    shard = rows * max(1, min(SHARD // width, facts.spots) // rows)
    array = zarr.create_array(
        _place(facts, write=True),
        shape=store.shape,
        dtype=store.dtype,
        chunks=(rows, max(1, facts.genes)),
        shards=(shard, max(1, facts.genes)),
        compressors=ZstdCodec(level=3),
        fill_value=np.nan,
        config={"write_empty_chunks": True},
    )
    joined = hashlib.sha256()
    starts = range(0, facts.spots, shard)
    for start in Progress(starts, desc="writing expression", unit="shard", leave=False, delay=2):
        values = store.rows(np.arange(start, min(start + shard, facts.spots)))
        array[start : start + len(values)] = as_kept(values, store.dtype)
        digest_of(values, store.dtype, joined)
    array.update_attributes({"digest": joined.hexdigest()})
    return joined.hexdigest()


def _opened(facts: Named) -> Any:
    import zarr
    from zarr.core.buffer import default_buffer_prototype
    from zarr.core.sync import sync

    store = _place(facts)
    said = None
    with contextlib.suppress(FileNotFoundError):
        said = sync(store.get("zarr.json", default_buffer_prototype()))
    if said is None:
        raise DataError(f"{facts.place}: holds no store of expression any more; run `bleep index build` again")
    check_codecs(json.loads(said.to_bytes()), facts.place)
    return zarr.open_array(store, mode="r", zarr_format=3)


def _place(facts: Named, *, write: bool = False) -> Any:
    try:
        from zarr.storage import FsspecStore, LocalStore
    except ImportError:
        raise ConfigError(f"index.expression_url: needs zarr 3.1 or later: {EXTRA}") from None
    if (local := _local(facts.place)) is not None:
        return LocalStore(local, read_only=not write)
    return FsspecStore.from_url(facts.place, read_only=not write)


def _local(url: str) -> Path | None:
    return Path(url.removeprefix("file://")) if url.startswith("file://") or "://" not in url else None


def _names(url: str, prefix: str) -> list[str]:
    """Return the stores at a place whose names begin so."""
    from fsspec.core import url_to_fs

    files, path = url_to_fs(url)
    files.invalidate_cache()
    if not files.exists(path):
        return []
    names = [str(one).rstrip("/").rsplit("/", 1)[-1] for one in files.ls(path, detail=False)]
    return [name for name in names if name.startswith(prefix)]


def _remove(url: str, name: str) -> None:
    from fsspec.core import url_to_fs

    with _said(url, "written"):
        files, path = url_to_fs(f"{url}/{name}")
        files.invalidate_cache()
        if files.exists(path):
            files.rm(path, recursive=True)


def _prefix(reference: str, folder: Path) -> str:
    """Return how the names of a reference's stores begin; a copy of its folder has stores of its own from its first change."""
    return f"{PREFIX}{hashlib.sha256(f'{reference} {folder.resolve()}'.encode()).hexdigest()[:12]}-"


def _facts(path: Path) -> Named:
    tree = read_json(path, "the name of a store of expression")
    try:
        facts = Named(**tree)
        whole = all(isinstance(getattr(facts, key), kind) for key, kind in Named.__annotations__.items() if kind in (str, int))
    except TypeError:
        whole = False
    if not whole:
        raise DataError(f"{path}: is damaged; make it again with `bleep index build`")
    return facts


@contextlib.contextmanager
def _said(place: str, done: str = "read") -> Iterator[None]:
    """Turn what a file system or Zarr says into a sentence."""
    try:
        yield
    except BleepError:
        raise
    except ImportError as error:
        raise ConfigError(f"{place}: what opens such URLs is not installed ({error}): {EXTRA}") from None
    except Exception as error:  # each file system has errors of its own
        said = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise DataError(
            f"{place}: cannot be {done} ({said}); see that the place is there and the environment gives the right to it"
        ) from None
