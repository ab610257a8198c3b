"""The table of a comparison and what is known of its leak, as a page has them."""

import math

from bleep.evaluation.digits import to_digits, words_of
from bleep.evaluation.scorecard import ENDS, HEADINGS, METRIC, meaning
from bleep.records import Table
from bleep.viz.page import Cell, Column, Grid


def partial(table: Table) -> list[str]:
    """Say which rows are not over all of the test tissue."""
    return [f"* {name}: over {words} alone, not to be compared with the other rows" for name, words in table.partial.items()]


def leaks(table: Table) -> list[str]:
    """Return what is known of the leak, all findings, each once, and what the first run fitted on which sections."""
    reports = table.leaks
    findings = dict.fromkeys(f"{found.severity}: {found.detail}" for report in reports for found in report.findings)
    fitted = [
        f"{one.what}: {', '.join(one.sections) or 'no section'}" + (f" ({one.detail})" if one.detail else "")
        for one in (reports[0].fitted if reports else ())
    ]
    told = any(one.endswith(f": {table.leak.detail}") for one in findings)
    return [*(() if told else (table.leak.detail,)), *findings, *fitted]


def grid_of(table: Table) -> Grid:
    """Return a table as the reader can sort it: a row a predictor, a column a score."""
    own = [name for name in map(str, table.rows) if name.startswith(METRIC) and not name.endswith(ENDS)]
    scores = [*(name for name in HEADINGS if name in table.rows), *own]
    headings = ((HEADINGS.get(name, name.removeprefix(METRIC)), meaning(name)) for name in scores)
    columns = (Column("predictor"), *(Column(heading, told) for heading, told in headings))
    rows = tuple(
        (
            Cell(f"{predictor} *" if predictor in table.partial else str(predictor), str(predictor)),
            *(_cell(name, row[name], row[f"{name}_sd"]) for name in scores),
        )
        for predictor, row in table.rows.iterrows()
    )
    return Grid(columns, rows)


def _cell(name: str, value: float, spread: float) -> Cell:
    return Cell("no value" if math.isnan(value) else words_of(name, value, spread), to_digits(name, float(value)))
