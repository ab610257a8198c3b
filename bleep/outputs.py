"""Guards of what comes in and goes out: declared sizes of inputs, and what an output may replace."""

import contextlib
import gzip
import io
import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bleep.errors import ConfigError, DataError
from bleep.files import check_file, check_writable, short
from bleep.marks import is_ours

if TYPE_CHECKING:
    import h5py


PICTURES: Mapping[str, str] = {
    "PNG": "PngImagePlugin",
    "JPEG": "JpegImagePlugin",
    "TIFF": "TiffImagePlugin",
    "WEBP": "WebPImagePlugin",
    "JPEG2000": "Jpeg2KImagePlugin",
    "BMP": "BmpImagePlugin",
    "GIF": "GifImagePlugin",
}
"""Formats that pictures are opened as, whatever their names end in, and the module of Pillow that reads each; some that
Pillow knows would start other programs."""
CODECS = frozenset(
    (
        "bytes", "transpose", "sharding_indexed", "crc32c", "gzip", "zstd", "blosc", "vlen-utf8", "vlen-bytes", "zlib", "lz4",
        "lzma", "bz2", "delta", "fixedscaleoffset", "quantize", "shuffle", "bitround", "packbits", "astype", "adler32",
        "crc32", "fletcher32", "pcodec",
    )
)  # fmt: skip
"""Codecs of Zarr that make numbers and text of bytes, and nothing else."""
METADATA = ("zarr.json", ".zarray", ".zmetadata")
LARGE, RATIO = 2**31, 1100
"""Bytes above which a declared size must be borne out by what is stored, and how far compression may go at most."""
DENSE = 300
"""How far gzip may have packed a table of that many bytes."""
LONG = 2**26
"""Bytes of metadata that no array needs."""


def check_parquet(path: Path) -> None:
    """Refuse a parquet file that declares far more values than it holds.

    Raises:
        DataError: see above.
        OSError, ValueError: it is damaged.

    """
    import pyarrow.parquet as pq

    check_file(path)
    with pq.ParquetFile(path) as file:
        facts = file.metadata
        groups = sum(facts.row_group(number).total_byte_size for number in range(facts.num_row_groups))
        size = max(groups, 8 * facts.num_rows * facts.num_columns)
    if size > LARGE and size > RATIO * path.stat().st_size:
        raise DataError(f"{path}: is said to hold {size:,} bytes, which the file does not; is it whole?")


def check_gzip(path: Path) -> None:
    """Refuse a packed file that unpacks to far more than tables do, before all of that is held.

    Raises:
        DataError: see above.
        OSError, EOFError: it is damaged.

    """
    check_file(path)
    packed, size = path.stat().st_size, 0
    if packed * RATIO <= LARGE:
        return
    with gzip.open(path) as file:
        while block := file.read(1 << 20):
            size += len(block)
            if size > LARGE and size > DENSE * packed:
                raise DataError(f"{path}: unpacks to more than {DENSE} times its size, which no table does; is it whole?")


def check_h5(path: Path) -> None:
    """Refuse an HDF5 file that reaches into other files, or declares far more than it holds.

    Raises:
        DataError: see above.
        OSError: it is damaged.

    """
    import h5py

    check_file(path)
    with h5py.File(path) as file:
        for name, item in _members(file, path):
            if item.external or item.is_virtual:
                raise DataError(f"{path}: {name} is kept in another file; copy the values into this one")
            size = item.size * item.dtype.itemsize if item.shape is not None else 0
            if size > LARGE and size > RATIO * max(item.id.get_storage_size(), 1):
                raise DataError(f"{path}: {name} is said to hold {size:,} bytes, which the file does not; is it whole?")


class TolerantFile(io.FileIO):
    """A file that takes what no longer has room, and remembers why it was not written.

    HDF5 cannot close a file that it could not write: it raises from within its own cleaning up, or ends the interpreter
    (h5py 3.16 with HDF5 2.0). FAISS writes a line of its own to standard error.
    """

    why: OSError | None = None
    """What was refused first."""

    def check(self) -> None:
        """Say what was refused.

        Raises:
            OSError: not all could be written.

        """
        if self.why is not None:
            raise self.why

    def write(self, held: Any, /) -> int:
        """Write all, or nothing more once something was refused."""
        view = memoryview(held).cast("B")
        done = 0
        try:
            while self.why is None and done < len(view):
                done += super().write(view[done:])
        except OSError as error:
            self.why = error
        return len(view)

    def truncate(self, size: int | None = None, /) -> int:
        """Set the length, as far as there is room."""
        try:
            return super().truncate(size)
        except OSError as error:
            self.why = self.why or error
            return self.tell() if size is None else size

    def readinto(self, buffer: Any, /) -> int:
        """Read; what was not written is zero."""
        view = memoryview(buffer).cast("B")
        view[:] = bytes(len(view))
        super().readinto(view)
        return len(view)


@contextlib.contextmanager
def writing_h5(path: Path) -> "Iterator[h5py.File]":
    """Open a new HDF5 file, and close it; on a disk that fills that is an error like any other.

    Raises:
        OSError: not all could be written.

    """
    import h5py

    with TolerantFile(path, "w+") as file:
        try:
            with h5py.File(file, "w") as root:
                yield root
        finally:
            file.check()


def _members(group: "h5py.Group", path: Path) -> "Iterator[tuple[str, h5py.Dataset]]":
    import h5py

    todo, seen = [group], set()
    while todo:
        here = todo.pop()
        for name in here:
            if isinstance(here.get(name, getlink=True), h5py.ExternalLink):
                raise DataError(
                    f"{path}: {here.name.rstrip('/')}/{name} is kept in another file; copy the values into this one"
                )
            item = here[name] if here.get(name) is not None else None
            if isinstance(item, h5py.Dataset):
                yield item.name, item
            elif isinstance(item, h5py.Group) and (item.id.__hash__(), item.name) not in seen and item.name.count("/") < 64:
                seen.add((item.id.__hash__(), item.name))
                todo.append(item)


def check_zarr(path: Path) -> None:
    """Refuse a Zarr store with codecs that numbers and text do not need, or blocks of absurd size, before a block is read.

    Raises:
        DataError: see above.

    """
    for name in METADATA:
        for file in path.rglob(name) if path.is_dir() else ():
            check_file(file)
            if file.stat().st_size > LONG:
                raise DataError(f"{file}: metadata of {file.stat().st_size:,} bytes; expected far less: is the store whole?")
            try:
                tree = json.loads(file.read_text(encoding="utf-8"))
                _check_array(tree, file)
                _check_stored(tree, file, file.relative_to(path).parts)
                for inner in ((tree.get("consolidated_metadata") or tree).get("metadata") or {}).values():
                    _check_array(inner, file)
            except (ValueError, AttributeError, TypeError, RecursionError, KeyError):
                # Whoever reads it says what is wrong with it.
                continue


def check_codecs(tree: dict[str, Any], file: Path | str) -> None:
    """Refuse the metadata of an array that is stored with a codec which numbers do not need.

    Raises:
        DataError: see above.

    """
    for codec in _codecs(tree):
        if codec.lower().removeprefix("numcodecs.") not in CODECS:
            raise DataError(f"{file}: is stored with the codec {codec!r}, which numbers do not need; it is not decoded")


def _check_array(tree: dict[str, Any], file: Path) -> None:
    check_codecs(tree, file)
    shape = tree.get("chunks") or tree.get("chunk_grid", {}).get("configuration", {}).get("chunk_shape") or ()
    if math.prod(int(side) for side in shape) > LARGE:
        raise DataError(f"{file}: blocks of {' x '.join(map(str, shape))} values; expected at most {LARGE:,} in a block")


def _check_stored(tree: dict[str, Any], file: Path, inside: tuple[str, ...]) -> None:
    """Refuse a table that is said to hold far more than is stored; pictures are read by region, so their size is no matter."""
    size = 8 * math.prod(int(side) for side in tree.get("shape") or ())
    if size > LARGE and not {"images", "labels"} & set(inside) and len(tree["shape"]) <= 2:
        stored = sum(each.stat().st_size for each in file.parent.rglob("*") if each.is_file())
        if size > RATIO * stored:
            raise DataError(f"{file}: is said to hold {size:,} bytes, which the store does not; is it whole?")


def _codecs(tree: dict[str, Any]) -> Iterator[str]:
    """Return the names of all codecs, of Zarr 2 and 3, those inside of others too."""
    old = [*(tree.get("filters") or ()), tree.get("compressor")]
    yield from (str(codec["id"]) for codec in old if codec)
    todo = list(tree.get("codecs") or ())
    while todo:
        codec = todo.pop()
        yield str(codec["name"] if isinstance(codec, dict) else codec)
        inner = codec.get("configuration", {}) if isinstance(codec, dict) else {}
        todo += [*(inner.get("codecs") or ()), *(inner.get("index_codecs") or ())]


def check_output(path: Path, inputs: Iterable[Path] = (), *, overwrite: bool | None = False) -> None:
    """Refuse a place where writing would destroy what is not ours, before the work that would fill it.

    Args:
        path: what will be written, a file or a folder.
        inputs: files and folders that the command reads.
        overwrite: whatever is there may go, but for inputs; none: the command knows no such flag.

    Raises:
        DataError: an input is there, or something that bleep did not write and `overwrite` is not given; or nothing can be
            written there.

    """
    try:
        if not path.exists():
            check_writable(path)
            return
        if _is_empty(path):
            return
        if _is_read(path, inputs):
            raise DataError(f"{path}: is read by this command, so nothing is written there; choose another place")
        if not overwrite and not is_ours(path):
            way_out = "choose another place, or " + ("move it away" if overwrite is None else "add --overwrite to replace it")
            raise DataError(f"{path}: is there already, and bleep did not write it; {way_out}")
    except OSError as error:
        raise DataError(f"{short(path)}: cannot be written ({error.strerror}); choose another place") from None


def check_folder(folder: Path, is_part: Callable[[str], object], what: str, inputs: Iterable[Path] = ()) -> None:
    """Refuse a folder that will be replaced as a whole, unless all that it holds is ours and none of it is read.

    Args:
        folder: what will be written.
        is_part: whether a name is one of those that will be written.
        what: what the folder is, in words.
        inputs: files and folders that the command reads.

    Raises:
        DataError: see above; or it is a file.

    """
    if folder.exists() and not folder.is_dir():
        raise DataError(f"{folder}: is a file; expected a folder for {what}: choose another place")
    found = sorted(folder.iterdir()) if folder.exists() else []
    other = next((path.name for path in found if not is_part(path.name)), None)
    if other is not None:
        raise DataError(f"{folder}: holds {other!r}, which is no part of {what}; choose another place")
    for path in found:
        check_output(path, inputs, overwrite=None)
    check_writable(folder / "part")


def check_apart(places: Iterable[tuple[str, Path | None]]) -> None:
    """Refuse places of one command of which one would be written over another, or into it.

    Args:
        places: each file, and each folder that is written as a whole, after the flag that says so.

    Raises:
        ConfigError: two are the same, or one lies inside another.

    """
    found: list[tuple[str, Path, Path]] = []
    for flag, path in places:
        if path is None:
            continue
        here = path.resolve()
        for other, its, there in found:
            if here == there:
                raise ConfigError(f"{path}: would be written by {other} and by {flag}; give each a place of its own")
            if there in here.parents or here in there.parents:
                (inner, mine), (outer, whole) = (
                    ((path, flag), (its, other)) if there in here.parents else ((its, other), (path, flag))
                )
                raise ConfigError(
                    f"{inner}, written by {mine}, would lie inside {outer}, written by {whole}; give each a place of its own"
                )
        found.append((flag, path, here))


def _is_read(path: Path, inputs: Iterable[Path]) -> bool:
    place, ours = path.resolve(), is_ours(path)
    # A file inside a folder that is read belongs to the input, unless bleep has put it there.
    given = [each.resolve() for each in inputs]
    return any(place == one or place in one.parents or (one in place.parents and not ours) for one in given)


def _is_empty(path: Path) -> bool:
    return path.is_dir() and next(iter(path.iterdir()), None) is None
