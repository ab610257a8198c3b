"""One thing that is wrong with the data."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, final

Severity = Literal["error", "warning"]


@final
@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong with the data."""

    severity: Severity
    """`error`: it would spoil a result. `warning`: it is worth knowing."""
    kind: str
    """A short name of the fault, for programs."""
    sections: tuple[str, ...]
    """The sections it concerns."""
    message: str
    """One sentence: what was found, and the way out."""


def error(kind: str, sections: Sequence[str], message: str) -> Finding:
    """Return a finding that would spoil a result."""
    return Finding("error", kind, tuple(sections), message)


def warning(kind: str, sections: Sequence[str], message: str) -> Finding:
    """Return a finding that is worth knowing."""
    return Finding("warning", kind, tuple(sections), message)
