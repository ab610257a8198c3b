"""What was checked and found, as a table for a terminal and as JSON values."""

import math
import textwrap
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, final

from bleep.data.qc.measures import Measures

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


HEADINGS = ("section", "patient", "spots", "genes", "dropped", "um/px", "tile px", "counts", "zero", "blank", "blur", "padded",
            "haem.", "eosin")  # fmt: skip
LEGEND = (
    "dropped: spots with counts but no position / with a position but no counts. tile px: pixels of the slide that a window "
    "is wide. counts: median sum of a spot. zero: spots without counts. blank, blur: share of the tiles looked at. padded: "
    "share of the widest window beyond the slide. haem., eosin: mean optical density over the tissue. -: not known."
)
LONGEST = 20
"""Letters of a name that are shown."""


@final
@dataclass(frozen=True, slots=True)
class Check:
    """What was found in some data."""

    sections: tuple[Measures, ...]
    """Measures of every section that could be read."""
    findings: tuple[Finding, ...]
    """What is wrong, errors first."""

    @property
    def spoiled(self) -> bool:
        """Whether anything would spoil a result."""
        return any(finding.severity == "error" for finding in self.findings)

    def to_dict(self) -> dict[str, Any]:
        """Return all of it as JSON values."""
        return {
            "sections": [one.to_dict() for one in self.sections],
            "findings": [asdict(finding) | {"sections": list(finding.sections)} for finding in self.findings],
        }


def as_text(check: Check, width: int = 110) -> str:
    """Return the table and the findings, wrapped at a width as far as the table allows."""
    rows = [HEADINGS, *(_cells(one) for one in check.sections)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEADINGS))]
    lines = [
        "  ".join(cell.ljust(w) if n < 2 else cell.rjust(w) for n, (cell, w) in enumerate(zip(row, widths, strict=True)))
        for row in rows
    ]
    lines.insert(1, "-" * len(lines[0]))
    lines += ["", *textwrap.wrap(LEGEND, width), ""]
    for finding in check.findings:
        lines.append(f"{finding.severity}: {finding.kind}, {_wrapped_names(finding.sections)}")
        lines += textwrap.wrap(finding.message, width, initial_indent="    ", subsequent_indent="    ")
    return "\n".join([*lines, _sum(check.findings)])


def _cells(one: Measures) -> tuple[str, ...]:
    seen, counts = one.picture, one.counts
    return (
        _short(one.section),
        "-" if one.patient == one.section else _short(one.patient),
        f"{one.spots:,}",
        f"{one.genes:,}",
        "-" if one.dropped is None else f"{one.dropped[0]}/{one.dropped[1]}",
        f"{one.mpp:.3g}",
        "+".join(str(side) for side in one.windows),
        "-" if counts.values == "nothing" else f"{counts.median:,.0f}" if counts.median >= 100 else f"{counts.median:.3g}",
        "-" if counts.values == "nothing" else f"{counts.zero_spots:,}",
        _share(seen.blank if seen else math.nan),
        _share(seen.blurred if seen else math.nan),
        _share(one.padded),
        _density(seen.haematoxylin if seen else math.nan),
        _density(seen.eosin if seen else math.nan),
    )


def _share(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.0%}"


def _density(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.2f}"


def _short(name: str) -> str:
    return name if len(name) <= LONGEST else name[: LONGEST - 1] + "…"


def _wrapped_names(names: Sequence[str]) -> str:
    return ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")


def _sum(findings: Sequence[Finding]) -> str:
    errors = sum(finding.severity == "error" for finding in findings)
    warnings = len(findings) - errors
    if not findings:
        return "nothing found that would spoil a result"
    said = f"{errors} error{'s' * (errors != 1)}, {warnings} warning{'s' * (warnings != 1)}"
    return said if errors else f"{said}: nothing that stops training; read each warning before you trust a result"
