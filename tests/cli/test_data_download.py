"""`bleep data download`, against a web server of the test's own."""

import hashlib
import socket
import threading
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from bleep.cli import app
from bleep.data import downloads


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *words: object) -> None:
        pass


@pytest.fixture(autouse=True)
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Let `mob` be two files below `site/`, and work elsewhere."""
    rows = ["name\tpath\tsha256"]
    for path in ("inst/extdata/counts/M.tsv", "inst/extdata/top.csv"):
        file = tmp_path / "site" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"this is {path}\n")
        rows.append(f"mob\t{path}\t{hashlib.sha256(file.read_bytes()).hexdigest()}")
    (tmp_path / "pins.tsv").write_text("\n".join(rows) + "\n")
    monkeypatch.setattr(downloads, "PINS", tmp_path / "pins.tsv")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path / "site"


@pytest.fixture
def mirror(tiny: Path) -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(tiny))) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture
def dead_end() -> str:
    """A URL at which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}"


def test_without_a_name_the_sets_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert app.main(["data", "download"]) == 0
    said = capsys.readouterr().out
    for chosen in downloads.SETS.values():
        assert f"{chosen.name}: {chosen.title}" in said
        assert chosen.licence in said


def test_a_set_is_fetched_below_data_and_licence_and_citation_come_first(
    mirror: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert app.main(["data", "download", "mob", "--from", mirror]) == 0
    out, err = capsys.readouterr()
    assert Path("data/mob/counts/M.tsv").read_text() == "this is inst/extdata/counts/M.tsv\n"
    assert Path("data/mob/sections.csv").exists()
    assert out.index("licence: MIT") < out.index("cite: Ståhl") < out.index("2 files fetched, 0 were there")
    assert "bleep train --config mob-mouse or released-mob --data.root data/mob" in out
    assert "Downloading" not in err


def test_a_second_call_fetches_only_what_is_missing(mirror: str, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["data", "download", "mob", "--out", "here", "--from", mirror]
    assert app.main(command) == 0
    Path("here/top.csv").unlink()
    assert app.main(command) == 0
    assert "here: 1 files fetched, 1 were there" in capsys.readouterr().out


def test_out_of_reach_it_says_which_host_and_what_to_put_where_by_hand(
    dead_end: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("data/mob/counts").mkdir(parents=True)
    Path("data/mob/counts/M.tsv").write_text("this is inst/extdata/counts/M.tsv\n")
    assert app.main(["data", "download", "mob", "--from", dead_end]) == 2
    out, err = capsys.readouterr()
    last = err.strip().splitlines()[-1]
    assert last.startswith("bleep: ")
    assert f"{dead_end.removeprefix('http://')} was not reached" in last
    base = downloads.SETS["mob"].base
    assert f"{base}inst/extdata/top.csv -> data/mob/top.csv" in out
    assert "M.tsv ->" not in out


def test_a_changed_file_is_refused_in_one_sentence(mirror: str, tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tiny / "inst/extdata/top.csv").write_text("changed")
    assert app.main(["data", "download", "mob", "--from", mirror]) == 2
    assert "is not the pinned file" in capsys.readouterr().err.strip().splitlines()[-1]
    assert not Path("data/mob/top.csv").exists()
    assert not Path("data/mob/sections.csv").exists()


def test_an_unknown_name_is_answered_with_the_names(capsys: pytest.CaptureFixture[str]) -> None:
    assert app.main(["data", "download", "liver"]) == 2
    assert capsys.readouterr().err.strip() == "bleep: liver: no public set of that name; expected her2st or mob"
    assert not list(Path().iterdir())


def test_the_real_host_is_what_is_asked_when_no_mirror_is_given(
    dead_end: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    moved = replace(downloads.SETS["mob"], base=f"{dead_end}/owner/repository/commit/")
    monkeypatch.setattr(downloads, "SETS", {"mob": moved})
    assert app.main(["data", "download", "mob"]) == 2
    assert "was not reached" in capsys.readouterr().err
    assert not Path("data").exists()
