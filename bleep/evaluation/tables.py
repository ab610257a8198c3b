"""The comparison as a table for a paper: CSV with every number, or LaTeX of the usual scores, with spread and floors."""

import csv
import io
import math
from collections.abc import Callable, Mapping
from pathlib import Path

from bleep.errors import ConfigError
from bleep.evaluation.report import FLOORS, HEADINGS
from bleep.evaluation.scorecard import METRIC, SCORES
from bleep.files import write_text
from bleep.marks import LATEX, marked_csv, plain_cell
from bleep.records import Table

ENDS = ("_sd", "_low", "_high")
"""Ends of the names of columns that say how sure a score is."""
SPECIAL = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"} | {c: "\\" + c for c in "&%$#_{}"}
"""What LaTeX takes for a command, and how it is printed."""


def check_table(path: Path) -> None:
    """Refuse a file of another kind, before anything is computed.

    Raises:
        ConfigError: naming the kinds there are.

    """
    if path.suffix.lower() not in WRITERS:
        raise ConfigError(f"--table {path}: is neither .csv nor .tex; name a file that ends in one of them")


def write_table(table: Table, path: Path) -> Path:
    """Write the comparison, one line a predictor and floors marked, and return the path.

    Raises:
        ConfigError: the file is to be neither .csv nor .tex.
        DataError: it cannot be written.

    """
    check_table(path)
    write_text(path, WRITERS[path.suffix.lower()](table))
    return path


def as_csv(table: Table) -> str:
    """Return every score, its standard deviation over test sections and the ends of intervals, as numbers."""
    columns = list(map(str, table.rows))
    sections = {name: len({c.section for c in table.cards if c.predictor == name}) for name in map(str, table.rows.index)}
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["protocol", "predictor", "floor", "sections", *columns])
    for name, row in zip(map(str, table.rows.index), table.rows.to_numpy(float), strict=True):
        numbers = ["" if math.isnan(value) else f"{value:.6g}" for value in row]
        floor = "yes" if name in FLOORS else "no"
        writer.writerow([plain_cell(table.protocol), plain_cell(name), floor, sections[name], *numbers])
    return marked_csv(out.getvalue())


def as_latex(table: Table) -> str:
    """Return the usual scores as a `tabular` of booktabs: mean and spread over test sections, floors below a line."""
    others = [name for name in map(str, table.rows) if name.startswith(METRIC) and not name.endswith(ENDS)]
    scores = [*(name for name in SCORES if name in table.rows), *others]
    head = ["Predictor", *(HEADINGS.get(name, name.removeprefix(METRIC)) for name in scores)]
    names = list(map(str, table.rows.index))
    own, floors = [name for name in names if name not in FLOORS], [name for name in names if name in FLOORS]
    sections = len({card.section for card in table.cards})
    lines = [LATEX, rf"% protocol {_plain(table.protocol)}; {sections} test sections; leak: {table.leak.status}"]
    lines += [rf"\begin{{tabular}}{{l{'r' * len(scores)}}}", r"\toprule", _line([_escaped(word) for word in head]), r"\midrule"]
    for group in filter(None, (own, floors)):
        lines += [r"\midrule"] * (group is floors and bool(own))
        for name in group:
            starred = f"{name} (fewer sections)" if name in table.partial else name
            numbers: dict[str, float] = dict(zip(map(str, table.rows), table.rows.loc[[name]].to_numpy(float)[0], strict=True))
            lines.append(_line([_escaped(starred), *(_cell(numbers[s], numbers[f"{s}_sd"]) for s in scores)]))
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", ""])


def _line(cells: list[str]) -> str:
    return " & ".join(cells) + r" \\"


def _cell(value: float, spread: float) -> str:
    if math.isnan(value):
        return "--"
    return f"${value:.3f}$" if math.isnan(spread) else rf"${value:.3f} \pm {spread:.3f}$"


def _escaped(text: str) -> str:
    return "".join(SPECIAL.get(letter, letter) for letter in text)


def _plain(text: str) -> str:
    return " ".join(text.split())


WRITERS: Mapping[str, Callable[[Table], str]] = {".csv": as_csv, ".tex": as_latex}
"""By the end of the file's name."""
