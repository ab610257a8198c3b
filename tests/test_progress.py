"""Bars where there is no terminal."""

import pytest

from bleep import progress
from bleep.cli import app
from bleep.errors import DataError
from bleep.progress import Progress


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(progress, "SECONDS", 10.0)
    return now


def test_a_bar_that_is_no_terminals_is_a_plain_line_each_ten_seconds(
    clock: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    with Progress(total=100, desc="predicting", unit="tile", leave=False) as bar:
        for _ in range(100):
            clock[0] += 1
            bar.update()
            bar.refresh()
    err = capsys.readouterr().err
    lines = err.splitlines()
    assert len(lines) == 10
    assert lines[0].startswith("predicting: 10 of 100 tiles, ")
    assert "\r" not in err
    assert "|" not in err


def test_a_short_bar_says_nothing_but_one_that_stays_says_where_it_ended(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(Progress(range(3), desc="short", leave=False)) == [0, 1, 2]
    assert capsys.readouterr().err == ""
    with Progress(total=2, desc="training", unit="epoch") as bar:
        bar.update(2)
        bar.set_postfix({"loss": "0.1"})
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("training: 2 of 2 epochs, ")
    assert line.endswith("loss=0.1")


def test_names_with_signs_that_move_a_terminal_are_spelt_out(capsys: pytest.CaptureFixture[str]) -> None:
    def fail() -> int:
        raise DataError("section \x1b[31mred\x07: is odd\nand more")

    assert app.guarded(fail) == 2
    assert capsys.readouterr().err == "bleep: section \\x1b[31mred\\x07: is odd\nand more\n"
