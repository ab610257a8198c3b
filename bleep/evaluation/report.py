"""The comparison: one line a predictor, as a table on the terminal, in Markdown and in JSON."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from bleep.evaluation.scorecard import SCORES
from bleep.files import write_json, write_text
from bleep.records import Leak, Scorecard, Table

HEADINGS = {
    "pcc": "PCC",
    "pcc_heg50": "HEG50",
    "pcc_hvg50": "HVG50",
    "pcc_spot": "per spot",
    "mse": "MSE",
    "variance_ratio": "var. ratio",
}
"""How the scores are called in tables."""


def compare(cards: Sequence[Scorecard], protocol: str, leak: Leak, facts: dict[str, str]) -> Table:
    """Join scorecards: the mean over the seeds of a section, then the mean and the spread over sections.

    The spread is the sample standard deviation over test sections; with one section there is none.
    """
    flat = pd.DataFrame([{"predictor": c.predictor, "section": c.section, "seed": c.seed} | c.summary for c in cards])
    scores = [name for name in SCORES if name in flat]
    by_section = flat.groupby(["predictor", "section"], sort=False)[scores].mean()
    rows = by_section.groupby("predictor", sort=False).mean()
    spread = by_section.groupby("predictor", sort=False).std().add_suffix("_sd")
    order = rows["pcc"].sort_values(ascending=False).index
    return Table(protocol, leak, facts, pd.concat([rows, spread], axis=1).loc[order], tuple(cards))


def as_text(table: Table) -> str:
    """Return the table for a terminal."""
    cells = _cells(table)
    widths = [max(len(row[column]) for row in cells) for column in range(len(cells[0]))]
    lines = [
        "  ".join(c.ljust(w) if not n else c.rjust(w) for n, (c, w) in enumerate(zip(r, widths, strict=True))) for r in cells
    ]
    lines.insert(1, "-" * len(lines[0]))
    return "\n".join(
        [f"protocol {table.protocol}", f"leak: {table.leak.status} ({table.leak.detail})", "", *lines, "", *_notes(table)]
    )


def as_markdown(table: Table) -> str:
    """Return the table as Markdown."""
    cells = _cells(table)
    head, *rows = ["| " + " | ".join(row) + " |" for row in cells]
    rule = "|" + " --- |" + " ---: |" * (len(cells[0]) - 1)
    facts = [f"- {key}: {value}" for key, value in table.facts.items()]
    return "\n".join(
        [
            f"# Protocol {table.protocol}",
            "",
            f"Leak: **{table.leak.status}** ({table.leak.detail}).",
            "",
            head,
            rule,
            *rows,
            "",
            *facts,
            "",
            _notes(table)[-1],
            "",
            *_by_section(table),
            "",
        ]
    )


def save(table: Table, folder: Path) -> tuple[Path, Path]:
    """Write `evaluation.json` and `evaluation.md`, and return their paths."""
    plain = {
        "protocol": table.protocol,
        "leak": {"status": table.leak.status, "detail": table.leak.detail},
        "facts": table.facts,
        "scores": dict(SCORES),
        "predictors": {str(name): _plain(row.to_dict()) for name, row in table.rows.iterrows()},
        "sections": [
            {"predictor": c.predictor, "section": c.section, "seed": c.seed, "skipped_genes": c.skipped} | _plain(c.summary)
            for c in table.cards
        ],
    }
    paths = (folder / "evaluation.json", folder / "evaluation.md")
    write_json(paths[0], plain)
    write_text(paths[1], as_markdown(table))
    return paths


def _cells(table: Table) -> list[list[str]]:
    scores = [name for name in SCORES if name in table.rows]
    cells = [["predictor", *(HEADINGS[name] for name in scores)]]
    for predictor, row in table.rows.iterrows():
        cells.append([str(predictor), *(_cell(name, row[name], row[f"{name}_sd"]) for name in scores)])
    return cells


def _cell(name: str, value: float, spread: float) -> str:
    places = 2 if name in ("variance_ratio",) else 3
    text = f"{value:.{places}f}"
    return text if math.isnan(spread) else f"{text} ± {spread:.{places}f}"


def _notes(table: Table) -> list[str]:
    sections = sorted({card.section for card in table.cards})
    seeds = sorted({card.seed for card in table.cards})
    notes = [f"{key}: {value}" for key, value in table.facts.items()]
    many = f"mean ± spread over test sections {', '.join(sections)}" if len(sections) > 1 else f"test section {sections[0]}"
    skipped = max(card.skipped for card in table.cards)
    missing = f"; up to {skipped} genes that do not vary in a test section are left out of PCC" if skipped else ""
    return [*notes, f"{many}; seeds {', '.join(map(str, seeds))}{missing}"]


def _by_section(table: Table) -> list[str]:
    flat = pd.DataFrame([{"predictor": c.predictor, "section": c.section, "pcc": c.summary["pcc"]} for c in table.cards])
    wide = flat.pivot_table(index="predictor", columns="section", values="pcc", sort=False).loc[table.rows.index]
    head = ["PCC by section", *map(str, wide.columns)]
    lines = ["| " + " | ".join(head) + " |", "| --- |" + " ---: |" * len(wide.columns)]
    return lines + ["| " + " | ".join([str(name), *(f"{value:.3f}" for value in row)]) + " |" for name, row in wide.iterrows()]


def _plain(row: Mapping[Any, float]) -> dict[str, float | None]:
    return {str(key): None if math.isnan(value) else round(float(value), 6) for key, value in row.items()}
