"""Public tissue that can be fetched: which files, from where, under which licence, pinned by sha256."""

import contextlib
import csv
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, final
from urllib.parse import quote, urljoin, urlsplit

from bleep.config import SourceName
from bleep.errors import ConfigError, DataError
from bleep.files import write_text

if TYPE_CHECKING:
    import requests

PINS = Path(__file__).with_suffix(".tsv")
"""A line a file: name of the set, path in its repository, sha256."""
SOURCE = "SOURCE.md"
"""Written beside the files: where they are from, their licence and whom to cite."""
TIMEOUT = (10, 60)
"""Seconds to wait for a connection, and for the next bytes."""
CHUNK = 1 << 18
"""Bytes written at a time."""
WAYS = "connect, give a mirror with --from, or fetch by hand"
"""What is left to do where a host is out of reach."""


@final
@dataclass(frozen=True, slots=True)
class PublicSet:
    """Files of one repository at one commit."""

    name: str
    """What the command line calls it."""
    title: str
    """What it is."""
    base: str
    """URL that the paths continue."""
    prefix: str
    """Start of the paths that is left out on disk."""
    licence: str
    """Under which the authors give it."""
    citation: str
    """Whom to cite."""
    source: SourceName
    """The setting `data.source` that reads it."""
    recipes: tuple[str, ...]
    """Recipes that train on it."""
    size: str
    """Of all files together, in words: a number, then MB or GB."""
    notes: Mapping[str, str] = field(default_factory=dict)
    """Small files of our own, by name: what the authors say elsewhere and a reader needs."""

    @property
    def most(self) -> int:
        """Bytes that no file of it has more than: half as much again as all files together."""
        number, _, unit = self.size.partition(" ")
        return int(1.5 * float(number) * {"MB": 10**6, "GB": 10**9}[unit])

    def pins(self) -> dict[str, tuple[str, str]]:
        """Return (path in the repository, sha256) of every file, by its path below the folder it is fetched to."""
        with PINS.open(encoding="utf-8", newline="") as file:
            rows = [row for row in csv.DictReader(file, delimiter="\t") if row["name"] == self.name]
        return {row["path"].removeprefix(self.prefix): (row["path"], row["sha256"]) for row in rows}

    def urls(self, base: str | None = None) -> dict[str, str]:
        """Return the URL of every file, by its path below the folder; `base` stands in for the repository's own."""
        start = (base or self.base).rstrip("/")
        return {local: f"{start}/{quote(path)}" for local, (path, _) in self.pins().items()}


SETS: Mapping[str, PublicSet] = {
    "her2st": PublicSet(
        name="her2st",
        title="breast cancer, legacy spatial transcriptomics: sections C2 to C5 of patient C, B4 of patient B",
        base="https://raw.githubusercontent.com/almaan/her2st/85df7411b987a7dec3feff9718b869a7a82091ec/",
        prefix="data/",
        licence="CC BY 4.0, as deposited at Zenodo (record 4751624)",
        citation="Andersson et al., Spatial deconvolution of HER2-positive breast cancer delineates tumor-associated cell type "
        "interactions, Nature Communications 12, 6012 (2021), doi:10.1038/s41467-021-26271-2",
        source="her2st",
        recipes=("her2st-b", "her2st-c"),
        size="24 MB",
    ),
    "mob": PublicSet(
        name="mob",
        title="mouse olfactory bulb, spatial transcriptomics on 2k arrays: four sections of two mice, 1000 genes",
        base="https://raw.githubusercontent.com/jbergenstrahle/STUtility/9a8f421499e58b13340ee386db07b0eba923c88c/",
        prefix="inst/extdata/",
        licence="MIT, as the package STUtility that they come with",
        citation="Ståhl et al., Visualization and analysis of gene expression in tissue sections by spatial transcriptomics, "
        "Science 353, 78-82 (2016), doi:10.1126/science.aaf2403 (method); Bergenstråhle et al., Seamless integration of image "
        "and molecular analysis for spatial transcriptomics workflows, BMC Genomics 21, 482 (2020), "
        "doi:10.1186/s12864-020-06832-3 (STUtility, the data)",
        source="st2k",
        recipes=("mob-mouse", "released-mob"),
        size="18 MB",
        notes={"sections.csv": "section,mouse\nMOB1,1\nMOB2,1\nMOB3,2\nMOB4,2\n"},
    ),
}
"""Every set, by name."""


def public_set(name: str) -> PublicSet:
    """Return the set of this name.

    Raises:
        ConfigError: there is none.

    """
    if name not in SETS:
        raise ConfigError(f"{name}: no public set of that name; expected {' or '.join(SETS)}")
    return SETS[name]


def set_of(source: str, protocol: str, names: Sequence[str]) -> PublicSet | None:
    """Return the public set that all these sections are of, by their names and the recipe's; none where they are not."""
    found = next((one for one in SETS.values() if protocol in one.recipes and source == one.source), None)
    pinned = [] if found is None else [Path(local).name for local in found.pins()]
    return found if all(any(name in local for local in pinned) for name in names) else None


def missing(chosen: PublicSet, folder: Path) -> list[str]:
    """Return the files that are not in the folder, or differ from what was pinned.

    Raises:
        DataError: the folder cannot be read.

    """
    import pooch

    with _clear(folder):
        return [
            local
            for local, (_, digest) in chosen.pins().items()
            if not (folder / local).exists() or pooch.file_hash(str(folder / local)) != digest
        ]


def fetch(chosen: PublicSet, folder: Path, base: str | None = None) -> int:
    """Fetch the files that are missing, check each, and return how many were fetched.

    A file that came in part is kept as `NAME.part`, and a later call asks for the rest. `base` is the URL of a mirror.

    Raises:
        ConfigError: the mirror is no URL.
        DataError: the host is not reached or refuses, a file is not the pinned one, or the folder cannot be written.

    """
    import pooch

    if base is not None and urlsplit(base).scheme not in ("http", "https"):
        raise ConfigError(f"--from {base}: expected a URL that begins with http:// or https://")
    left = missing(chosen, folder)
    pins, urls = chosen.pins(), chosen.urls(base)
    hashes = {local: f"sha256:{digest}" for local, (_, digest) in pins.items()}
    with _clear(folder), _quiet():
        store = pooch.Pooch(path=folder, base_url="", registry=hashes, urls=urls)
        for local in left:
            with _no_empty_folder((folder / local).parent), _said(urls[local]):
                store.fetch(local, downloader=Resuming(folder / f"{local}.part", chosen.most))
        for name, text in {SOURCE: _source(chosen), **chosen.notes}.items():
            if not (folder / name).exists():
                write_text(folder / name, text)
    return len(left)


@final
@dataclass(frozen=True, slots=True)
class Resuming:
    """A downloader for pooch that keeps what has come in `part`, and asks for the rest of it the next time."""

    part: Path
    """Becomes the finished file."""
    most: int
    """Bytes that no file of the set has more than."""

    def __call__(self, url: str, output_file: str, pooch: object) -> None:
        """Fetch a URL to `output_file`."""
        import requests

        from bleep.progress import Progress

        have = self.part.stat().st_size if self.part.exists() else 0
        # Compressed on the way, a range would count other bytes than those of the file.
        headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {})
        with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT, hooks={"response": _stays_safe}) as response:
            goes_on = response.status_code == 206 and response.headers.get("Content-Range", "").startswith(f"bytes {have}-")
            if have and not goes_on and response.status_code in (206, 416):
                self.part.unlink()
                return self(url, output_file, pooch)
            response.raise_for_status()
            begun = have if goes_on else 0
            total = begun + int(response.headers["Content-Length"]) if "Content-Length" in response.headers else None
            name = self.part.name.removesuffix(".part")
            _check_size(url, total or 0, self.most)
            with (
                self.part.open("ab" if goes_on else "wb") as file,
                Progress(total=total, initial=begun, desc=name, unit="B", unit_scale=True, leave=False) as bar,
            ):
                for chunk in response.iter_content(CHUNK):
                    _check_size(url, begun + len(chunk), self.most)
                    begun += len(chunk)
                    file.write(chunk)
                    bar.update(len(chunk))
        self.part.replace(output_file)
        return None


def _check_size(url: str, size: int, most: int) -> None:
    if size > most:
        raise DataError(f"{url}: has more than the {most / 1e6:.0f} MB that its whole set may take; give a mirror with --from")


def _stays_safe(response: "requests.Response", *_: object, **__: object) -> None:
    """Refuse to be sent from https to anything else, before that is asked."""
    if not response.is_redirect:
        return
    target = urljoin(response.url, response.headers["Location"])
    if urlsplit(response.url).scheme == "https" and urlsplit(target).scheme != "https":
        raise DataError(
            f"{response.url}: sends on to {target}, which is not https; give a mirror with --from, or fetch by hand"
        )


def _source(chosen: PublicSet) -> str:
    title = chosen.title[0].upper() + chosen.title[1:]
    return f"# {title}\n\n- from: {chosen.base}\n- licence: {chosen.licence}\n- cite: {chosen.citation}\n"


@contextlib.contextmanager
def _said(url: str) -> Iterator[None]:
    """Turn what can go wrong on the way into one sentence."""
    import requests

    host = urlsplit(url).netloc
    try:
        yield
    except requests.HTTPError as error:
        answer = "an error" if error.response is None else error.response.status_code
        raise DataError(f"{url}: {host} answered {answer}; give a mirror with --from, or fetch by hand") from None
    except requests.ConnectTimeout:
        raise DataError(f"{host} was not reached (no answer in time); {WAYS}") from None
    except (requests.ReadTimeout, requests.exceptions.ChunkedEncodingError):
        raise DataError(f"{url}: the connection broke off; run the same again, and it goes on from there") from None
    except requests.RequestException as error:
        raise DataError(f"{host or url} was not reached ({type(error).__name__}); {WAYS}") from None
    except ValueError:
        raise DataError(
            f"{url}: what came is not the pinned file (its sha256 differs) and was thrown away; a proxy or a mirror may have "
            "changed it: give another with --from, or fetch by hand"
        ) from None


@contextlib.contextmanager
def _clear(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise DataError(
            f"{folder}: cannot be used ({error.strerror or error}); choose another --out or free some space"
        ) from None


@contextlib.contextmanager
def _no_empty_folder(place: Path) -> Iterator[None]:
    """On failure, remove the folders that were made and hold nothing."""
    new = [folder for folder in (place, *place.parents) if not folder.exists()]
    try:
        yield
    except BaseException:
        for folder in new:
            with contextlib.suppress(OSError):
                folder.rmdir()
        raise


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence pooch's own lines, which name temporary files."""
    import pooch

    logger = pooch.get_logger()
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)
