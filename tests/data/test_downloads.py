import contextlib
import gzip
import hashlib
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import requests

from bleep.config import DataConfig
from bleep.data import downloads
from bleep.data.downloads import PublicSet, fetch, missing, public_set
from bleep.data.readers import read_sections
from bleep.errors import ConfigError, DataError

BODIES = {"data/a/one.tsv": b"one\n" * 300_000, "data/b/two words.jpg": b"two" * 1000}


class Host:
    """A web server for tests: what it holds, how it misbehaves, and what it was asked."""

    def __init__(self) -> None:
        self.bodies: dict[str, bytes] = dict(BODIES)
        self.ranges = True
        self.cut: int | None = None
        self.status: int | None = None
        self.asked: list[tuple[str, str | None]] = []
        host = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                host.answer(self)

            def log_message(self, *words: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01})

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}/mirror"

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        path = request.path.removeprefix("/mirror/").replace("%20", " ")
        wanted = request.headers.get("Range")
        self.asked.append((path, wanted))
        if self.status is not None or path not in self.bodies:
            request.send_error(self.status or 404)
            return
        body, begin = self.bodies[path], 0
        if wanted and self.ranges:
            begin = int(wanted.removeprefix("bytes=").removesuffix("-"))
            if begin >= len(body):
                request.send_error(416)
                return
        request.send_response(206 if wanted and self.ranges else 200)
        request.send_header("Content-Length", str(len(body) - begin))
        if wanted and self.ranges:
            request.send_header("Content-Range", f"bytes {begin}-{len(body) - 1}/{len(body)}")
        request.end_headers()
        request.wfile.write(body[begin:] if self.cut is None else body[begin : begin + self.cut])


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> Iterator[Host]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    made = Host()
    made.thread.start()
    yield made
    made.server.shutdown()
    made.server.server_close()
    made.thread.join()


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> PublicSet:
    """A set of two files, pinned as the real ones are."""
    rows = [f"tiny\t{path}\t{hashlib.sha256(body).hexdigest()}" for path, body in BODIES.items()]
    (tmp_path / "pins.tsv").write_text("\n".join(["name\tpath\tsha256", "other\tx\tff", *rows]) + "\n")
    monkeypatch.setattr(downloads, "PINS", tmp_path / "pins.tsv")
    return PublicSet(
        name="tiny",
        title="two files",
        base="http://nowhere.invalid/at/commit/",
        prefix="data/",
        licence="none",
        citation="nobody",
        source="st2k",
        recipes=("toy",),
        size="1 MB",
        notes={"sections.csv": "section,patient\n"},
    )


def names(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_every_file_comes_whole_to_its_place_with_what_a_reader_needs_beside_it(
    host: Host, tiny: PublicSet, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    assert missing(tiny, out) == ["a/one.tsv", "b/two words.jpg"]
    assert fetch(tiny, out, host.url) == 2
    assert names(out) == {"a/one.tsv", "b/two words.jpg", "sections.csv", "SOURCE.md"}
    assert (out / "a" / "one.tsv").read_bytes() == BODIES["data/a/one.tsv"]
    assert (out / "sections.csv").read_text() == "section,patient\n"
    assert "licence: none" in (out / "SOURCE.md").read_text()
    assert missing(tiny, out) == []


def test_what_is_there_is_kept_what_differs_is_fetched_again_and_a_changed_note_is_left_alone(
    host: Host, tiny: PublicSet, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    fetch(tiny, out, host.url + "/")
    (out / "b" / "two words.jpg").write_bytes(b"damaged")
    (out / "sections.csv").write_text("mine")
    host.asked.clear()
    assert fetch(tiny, out, host.url) == 1
    assert host.asked == [("data/b/two words.jpg", None)]
    assert (out / "b" / "two words.jpg").read_bytes() == BODIES["data/b/two words.jpg"]
    assert (out / "sections.csv").read_text() == "mine"
    assert fetch(tiny, out, "http://127.0.0.1:9/never-asked") == 0


def test_a_broken_download_goes_on_where_it_stopped(host: Host, tiny: PublicSet, tmp_path: Path) -> None:
    out = tmp_path / "out"
    host.cut = 400_000
    with pytest.raises(DataError, match="broke off; run the same again"):
        fetch(tiny, out, host.url)
    assert names(out) == {"a/one.tsv.part"}
    have = (out / "a" / "one.tsv.part").stat().st_size
    assert 0 < have <= 400_000
    host.cut = None
    host.asked.clear()
    fetch(tiny, out, host.url)
    assert host.asked[0] == ("data/a/one.tsv", f"bytes={have}-")
    assert (out / "a" / "one.tsv").read_bytes() == BODIES["data/a/one.tsv"]
    assert not list(out.rglob("*.part"))


@pytest.mark.parametrize("case", ["the server ignores ranges", "more has come than there is", "all has come already"])
def test_a_part_that_cannot_be_continued_is_fetched_anew(case: str, host: Host, tiny: PublicSet, tmp_path: Path) -> None:
    out = tmp_path / "out"
    (out / "a").mkdir(parents=True)
    body = BODIES["data/a/one.tsv"]
    begun = {"the server ignores ranges": body[:1000], "more has come than there is": body * 2}.get(case, body)
    (out / "a" / "one.tsv.part").write_bytes(begun)
    host.ranges = case != "the server ignores ranges"
    fetch(tiny, out, host.url)
    assert host.asked[0][1] == f"bytes={len(begun)}-"
    assert (out / "a" / "one.tsv").read_bytes() == body


def test_a_part_of_another_file_is_found_out_and_thrown_away(host: Host, tiny: PublicSet, tmp_path: Path) -> None:
    out = tmp_path / "out"
    (out / "a").mkdir(parents=True)
    (out / "a" / "one.tsv.part").write_bytes(b"something else")
    with pytest.raises(DataError, match="not the pinned file"):
        fetch(tiny, out, host.url)
    assert names(out) == set()
    assert fetch(tiny, out, host.url) == 2


def test_a_file_that_is_not_the_pinned_one_never_gets_its_name(host: Host, tiny: PublicSet, tmp_path: Path) -> None:
    out = tmp_path / "out"
    host.bodies["data/b/two words.jpg"] = b"<html>please log in</html>"
    with pytest.raises(DataError, match=r"two%20words\.jpg: what came is not the pinned file .its sha256 differs") as caught:
        fetch(tiny, out, host.url)
    assert "\n" not in str(caught.value)
    assert names(out) == {"a/one.tsv"}
    host.bodies = dict(BODIES)
    assert fetch(tiny, out, host.url) == 1


def test_the_host_that_was_not_reached_is_named_and_no_folder_is_left(tiny: PublicSet, host: Host, tmp_path: Path) -> None:
    port = host.server.server_port
    host.server.shutdown()
    host.server.server_close()
    with pytest.raises(DataError, match=f"127.0.0.1:{port} was not reached"):
        fetch(tiny, tmp_path / "deep" / "out", host.url)
    assert not (tmp_path / "deep").exists()


@pytest.mark.parametrize("status", [403, 404, 500])
def test_a_refusal_is_said_with_its_number(status: int, host: Host, tiny: PublicSet, tmp_path: Path) -> None:
    host.status = status
    with pytest.raises(DataError, match=f"answered {status}"):
        fetch(tiny, tmp_path / "out", host.url)
    assert not (tmp_path / "out").exists()


def test_a_place_that_is_no_folder_and_a_mirror_that_is_no_url_are_refused(tiny: PublicSet, host: Host, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="cannot be used"):
        fetch(tiny, tmp_path / "file", host.url)
    with pytest.raises(ConfigError, match="expected a URL"):
        fetch(tiny, tmp_path / "out", str(tmp_path))


def test_every_set_is_pinned_to_a_commit_and_names_its_recipes(repository: Path) -> None:
    assert set(downloads.SETS) == {"her2st", "mob"}
    for name, chosen in downloads.SETS.items():
        assert public_set(name) is chosen
        assert len(chosen.base.rstrip("/").rsplit("/", 1)[1]) == 40
        assert all(len(digest) == 64 for _, digest in chosen.pins().values())
        assert all(url.startswith(chosen.base) for url in chosen.urls().values())
        for recipe in chosen.recipes:
            text = (repository / "configs" / f"{recipe}.yaml").read_text()
            assert f"source: {chosen.source}" in text
            assert f"root: data/{name}" in text
    with pytest.raises(ConfigError, match="expected her2st or mob"):
        public_set("visium")


COPIES = {
    "her2st": lambda shared, local: next((shared / "data" / "her2st").rglob(Path(local).name)),
    "mob": lambda shared, local: next((shared / "data" / "mob_st2k").rglob(f"{Path(local).name}*"), None),
}
"""Where real copies of the files lie; those of `mob` were compressed again, and one is not there."""


def real(name: str, shared: Path) -> dict[str, bytes]:
    """Return the real bytes, by path in the repository, of the files that are as they were published."""
    find: Callable[[Path, str], Path | None] = COPIES[name]
    found = {}
    for local, (path, _) in public_set(name).pins().items():
        copy = find(shared, local)
        if copy is not None and copy.name != "mouse_genes.tsv.gz":
            packed = copy.suffix == ".gz" and not path.endswith(".gz")
            found[path] = gzip.decompress(copy.read_bytes()) if packed else copy.read_bytes()
    return found


@pytest.mark.data
@pytest.mark.parametrize(("name", "count"), [("her2st", 15), ("mob", 12)])
def test_the_pins_are_those_of_the_published_files(name: str, count: int, shared: Path) -> None:
    files = real(name, shared)
    assert len(files) == count
    assert set(public_set(name).pins().values()) >= {(path, hashlib.sha256(body).hexdigest()) for path, body in files.items()}


@pytest.mark.data
@pytest.mark.slow
def test_her2st_as_it_is_fetched_is_what_its_reader_reads(host: Host, shared: Path, tmp_path: Path) -> None:
    host.bodies = real("her2st", shared)
    assert fetch(public_set("her2st"), tmp_path / "her2st", host.url) == 15
    sections = read_sections(DataConfig(source="her2st", root=tmp_path / "her2st"))
    assert [(section.name, section.patient, len(section)) for section in sections] == [
        (s.name, s.patient, len(s))
        for s in read_sections(DataConfig(source="her2st", root=shared / "data" / "her2st"))
    ]  # fmt: skip
    assert {section.patient for section in sections} == {"B", "C"}


@pytest.mark.data
def test_mob_as_it_is_laid_out_is_what_its_reader_reads(host: Host, shared: Path, tmp_path: Path) -> None:
    out, chosen = tmp_path / "mob", public_set("mob")
    host.bodies = real("mob", shared)
    with pytest.raises(DataError, match=r"metaData.csv: .* answered 404"):
        fetch(chosen, out, host.url)
    assert missing(chosen, out) == ["metaData.csv", "mouse_genes.tsv.gz"]
    (out / "mouse_genes.tsv.gz").write_bytes((shared / "data" / "mob_st2k" / "mouse_genes.tsv.gz").read_bytes())
    (out / "sections.csv").write_text(chosen.notes["sections.csv"])
    sections = read_sections(DataConfig(source="st2k", root=out))
    before = read_sections(DataConfig(source="st2k", root=shared / "data" / "mob_st2k"))
    assert [(s.name, s.patient, s.counts.shape) for s in sections] == [(s.name, s.patient, s.counts.shape) for s in before]
    assert list(sections[0].counts.var["symbol"]) == list(before[0].counts.var["symbol"])


def test_a_set_is_fetched_within_its_size_alone(host: Host, tiny: PublicSet, tmp_path: Path) -> None:
    host.bodies["data/a/one.tsv"] = b"x" * (tiny.most + 1)
    with pytest.raises(DataError, match="has more than the 2 MB that its whole set may take"):
        fetch(tiny, tmp_path / "out", host.url)
    assert names(tmp_path / "out") == set()


@pytest.mark.parametrize(
    ("target", "refused"), [("http://other.invalid/f", True), ("https://other.invalid/f", False), ("/g", False)]
)
def test_nobody_is_sent_from_https_to_less(target: str, refused: bool) -> None:
    answer = requests.Response()
    answer.status_code, answer.url = 302, "https://host.invalid/f"
    answer.headers["Location"] = target
    with pytest.raises(DataError, match="which is not https") if refused else contextlib.nullcontext():
        downloads._stays_safe(answer)
