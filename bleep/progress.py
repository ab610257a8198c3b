"""Progress bars: drawn in place on a terminal, plain lines now and then anywhere else, such as a log file."""

import sys
import time
from collections.abc import Iterable
from typing import Any

import tqdm

SECONDS = 10.0
"""Between two plain lines of one bar, and before its first: what is done sooner says nothing."""


class _Lines:
    """A file that is given whole lines alone; what moves a cursor is dropped."""

    def __init__(self, file: Any) -> None:
        self.file = file
        self.encoding = getattr(file, "encoding", "utf-8")

    def write(self, text: str) -> None:
        line = text.replace("\r", "").strip("\n")
        if line.strip():
            self.file.write(line + "\n")

    def flush(self) -> None:
        self.file.flush()


class Progress(tqdm.tqdm):
    """A bar of tqdm, with its arguments; where standard error is no terminal, a line each ten seconds."""

    def __init__(self, iterable: Iterable[Any] | None = None, **settings: Any) -> None:
        self._plain = not sys.stderr.isatty()
        self._shown, self._stays = time.monotonic(), settings.get("leave", True)
        if self._plain:
            settings |= {"file": _Lines(sys.stderr), "leave": False}
            settings |= {"mininterval": SECONDS, "delay": max(SECONDS, settings.get("delay", 0.0))}
        super().__init__(iterable, **settings)

    def display(self, msg: str | None = None, pos: int | None = None) -> None:
        """Draw the bar; as plain lines, only when the last is some seconds old."""
        if not self._plain:
            super().display(msg, pos)
            return
        now = time.monotonic()
        if msg is None and now - self._shown >= SECONDS:
            self._shown = now
            self._say()

    def close(self) -> None:
        """End the bar; one that stays says where it ended."""
        if self._plain and self._stays and not self.disable:
            self._say()
        super().close()

    def _say(self) -> None:
        """Write what the bar says, without its bar."""
        unit = self.unit + "s" if len(self.unit) > 1 else self.unit
        ends = "{elapsed}, {remaining} to go{postfix}" if self.total else "{elapsed}{postfix}"
        count = "{desc}: {n_fmt} of {total_fmt}" if self.total else "{desc}: {n_fmt}"
        facts = {**self.format_dict, "bar_format": f"{count} {unit}, {ends}"}
        self.fp.write(self.format_meter(**facts))
