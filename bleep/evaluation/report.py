"""The comparison: one line a predictor, as a table on the terminal, in Markdown and in JSON; for a paper as CSV or LaTeX."""

import csv
import io
import math
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict
from itertools import combinations
from pathlib import Path
from typing import Any

import pandas as pd

from bleep.errors import ConfigError
from bleep.evaluation import leakage
from bleep.evaluation import protocols as peers
from bleep.evaluation import statistics as paired
from bleep.evaluation.digits import to_digits, words_of
from bleep.evaluation.partial import partial
from bleep.evaluation.scorecard import ENDS, HEADINGS, METRIC, SCORES, correlations, gene_means, meaning, section_means
from bleep.evaluation.statistics import section_interval
from bleep.files import write_json, write_text
from bleep.marks import COMMENT, KEY, LATEX, MARK, marked_csv, plain_cell
from bleep.records import Leak, LeakReport, Scorecard, Table

WRITTEN = ("evaluation.json", "evaluation.md", "genes.csv")
"""Files of an evaluation."""
NONE = "no value"
"""Stands where there is no score."""
SHOWN = 10
"""Genes named at most where a section lacks some."""
FLOORS = (
    "ridge", "ridge on colour", "ridge on stains", "robust ridge on textures", "ridge on random trunk", "image-kNN", "mean",
)  # fmt: skip
"""Predictors that are there to be beaten; the others are told against the first of them."""


def compare(
    cards: Sequence[Scorecard],
    protocol: str,
    leak: Leak,
    facts: dict[str, str],
    leaks: Sequence[LeakReport] = (),
    published: pd.DataFrame | None = None,
    once: Collection[str] = FLOORS,
) -> Table:
    """Join scorecards: the mean over the seeds of a part, then over the parts of a section, then mean and spread over sections.

    The spread is the sample standard deviation over test sections; `_low` and `_high` are the ends of its mean's bootstrap
    interval over sections (95 %). With one section there is neither. Every two predictors are compared section by section,
    over the seeds that both have; those of `once` are fitted once for all seeds.
    """
    by_section = section_means(cards)
    grouped = by_section.groupby("predictor", sort=False)
    rows, spread = grouped.mean(), grouped.std().add_suffix("_sd")
    ends = {name: section_interval(group["pcc"].tolist()) for name, group in grouped}
    sure = pd.DataFrame.from_dict(ends, orient="index", columns=["pcc_low", "pcc_high"])
    order = rows["pcc"].sort_values(ascending=False).index
    contrasts = tuple(paired.contrast(cards, first, second, once=once) for first, second in combinations(map(str, order), 2))
    joined = pd.concat([rows, spread, sure], axis=1).loc[order]
    return Table(protocol, leak, facts, joined, tuple(cards), tuple(leaks), contrasts, published, partial(cards, once))


def as_text(table: Table) -> str:
    """Return the table for a terminal."""
    cells = _cells(table)
    widths = [max(len(row[column]) for row in cells) for column in range(len(cells[0]))]
    lines = [
        "  ".join(c.ljust(w) if not n else c.rjust(w) for n, (c, w) in enumerate(zip(r, widths, strict=True))) for r in cells
    ]
    lines.insert(1, "-" * len(lines[0]))
    head = [f"protocol {table.protocol}", f"leak: {table.leak.status} ({table.leak.detail})", *leakage.lines(table.leaks)]
    against, known = _against_ridge(table), peers.lines(table.published)
    return "\n".join([*head, "", *lines, "", *_fewer(table), *against, *known, *_notes(table)])


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
            *_items(leakage.lines(table.leaks)),
            head,
            rule,
            *rows,
            "",
            *_items(_fewer(table)),
            *_items(_against_ridge(table)),
            *_items(peers.lines(table.published)),
            *facts,
            *(f"- {line}" for line in (*_absent(table), *_unscored(table))),
            "",
            _notes(table)[-1],
            "",
            *_by_section(table),
            "",
        ]
    )


def save(table: Table, folder: Path) -> tuple[Path, Path, Path]:
    """Write `evaluation.json`, `evaluation.md` and `genes.csv`, and return their paths."""
    plain = {
        KEY: MARK,
        "protocol": table.protocol,
        "leak": {"status": table.leak.status, "detail": table.leak.detail},
        "facts": table.facts,
        "scores": {name: meaning(name) for name in dict.fromkeys(name for c in table.cards for name in c.summary)},
        "predictors": {str(name): _plain(row.to_dict()) for name, row in table.rows.iterrows()},
        "sections": [
            {"predictor": c.predictor, "section": c.section, "patient": c.patient, "seed": c.seed, "skipped_genes": c.skipped}
            | ({"absent_genes": list(c.absent)} if c.absent else {})
            | _plain(c.summary)
            for c in table.cards
        ],
        "patients": _by_patient(table),
        "contrasts": [_numbers(asdict(found)) for found in table.contrasts],
        "leak_report": [asdict(found) for found in table.leaks],
        "partial": dict(table.partial),
        "published": [] if table.published is None else table.published.to_dict("records"),
    }
    paths = (folder / WRITTEN[0], folder / WRITTEN[1], folder / WRITTEN[2])
    write_json(paths[0], plain)
    write_text(paths[1], f"{as_markdown(table)}\n{COMMENT}\n")
    genes = by_gene(table).rename(index=plain_cell, columns=plain_cell).to_csv(index_label="gene", float_format="%.4g")
    write_text(paths[2], marked_csv(genes))
    return paths


def by_gene(table: Table) -> pd.DataFrame:
    """Return one row a gene, the best predicted first: its correlation by each predictor, and how it varies over sections.

    `sections` counts the test sections in which the gene varies; `least` and `most` are the first predictor's lowest and
    highest correlation over them, `mse` and `variance_ratio` its means. Seeds and blocks of one section are averaged before. A
    predictor that is called like one of these columns, such as `most`, becomes `most (predictor)`.
    """
    r, first = correlations(table.cards), str(table.rows.index[0])
    own = gene_means(table.cards).xs(first, level="predictor").groupby(level="gene", sort=False)
    varied = own["pearson"]
    found = pd.DataFrame({"sections": varied.count(), "least": varied.min(), "most": varied.max()})
    means = own[["mse", "variance_ratio"]].mean()
    order = list(map(str, table.rows.index))
    beside = found.join(means)
    taken = {name: f"{name} (predictor)" for name in order if name in (*beside, "gene")}
    return r[order].sort_values(first, ascending=False, kind="stable").rename(columns=taken).join(beside)


def more_as_text(table: Table) -> str:
    """Return all scores, one line a score with what it means, one column a predictor."""
    names = [name for name in map(str, table.rows) if not name.endswith(ENDS)]
    shown = table.rows[names].apply(lambda row: [words_of(str(row.name), x).replace("nan", "") for x in row]).T
    return "\n".join([shown.to_string(), "", *(f"{name}: {meaning(name)}" for name in names)])


def _against_ridge(table: Table) -> list[str]:
    """Say of each predictor that is no floor how it stands to ridge."""
    lines = []
    for found in table.contrasts:
        first, second = found.first, found.second
        if second == FLOORS[0] and first not in FLOORS:
            lines.append(paired.sentence(found))
        elif first == FLOORS[0] and second not in FLOORS:
            lines.append(paired.sentence(paired.turned(found)))
    return lines


def _fewer(table: Table) -> list[str]:
    """Say which rows are not over all of the test tissue or all seeds, so that nobody lays them beside the others."""
    if not table.partial:
        return []
    lines = [f"* {name}: over {words} alone" for name, words in table.partial.items()]
    return [*lines, "  not to be compared row by row with the others; the differences below are over what both were scored on"]


def _by_patient(table: Table) -> list[dict[str, Any]]:
    """Return the mean over seeds, then over the sections of a patient."""
    by_section = section_means(table.cards, "patient")
    by_patient = by_section.groupby(["predictor", "patient"], sort=False).mean()
    wide = by_patient.reset_index()
    keys = ["predictor", "patient"]
    return [{key: str(row[key]) for key in keys} | _plain(row.drop(keys).to_dict()) for _, row in wide.iterrows()]


def _items(lines: Sequence[str]) -> list[str]:
    return [*(f"- {line.strip()}" for line in lines), ""] if lines else []


def _cells(table: Table) -> list[list[str]]:
    others = [name for name in map(str, table.rows) if name.startswith(METRIC) and f"{name}_sd" in table.rows]
    scores = [*(name for name in SCORES if name in table.rows), *others]
    cells = [["predictor", *(HEADINGS.get(name, name.removeprefix(METRIC)) for name in scores)]]
    for predictor, row in table.rows.iterrows():
        name = f"{predictor} *" if predictor in table.partial else str(predictor)
        cells.append([name, *(_cell(name, row[name], row[f"{name}_sd"]) for name in scores)])
    return cells


def _cell(name: str, value: float, spread: float) -> str:
    if math.isnan(value):
        return NONE
    return words_of(name, value, spread, places=2 if name == "variance_ratio" else 3)


def _notes(table: Table) -> list[str]:
    sections = sorted({card.section for card in table.cards})
    seeds = sorted({card.seed for card in table.cards})
    notes = [f"{key}: {value}" for key, value in table.facts.items()]
    many = f"mean ± spread over test sections {', '.join(sections)}" if len(sections) > 1 else f"test section {sections[0]}"
    skipped = max(card.skipped - len(card.absent) for card in table.cards)
    missing = f"; up to {skipped} genes that do not vary in a test section are left out of PCC" if skipped else ""
    return [*notes, *_absent(table), *_unscored(table), f"{many}; seeds {', '.join(map(str, seeds))}{missing}"]


def _absent(table: Table) -> list[str]:
    """Say which genes of the panel a test section does not list, and that its scores leave them out."""
    found = {card.section: card for card in table.cards if card.absent}
    return [
        f"not measured in {name}, and left out of its scores: {len(card.absent)} of {len(card.genes)} genes "
        f"({', '.join(card.absent[:SHOWN])}{', ...' if len(card.absent) > SHOWN else ''})"
        for name, card in sorted(found.items())
    ]


def _unscored(table: Table) -> list[str]:
    """Say which scores some test sections have not, so that these have no part in their means."""
    known = {card.section for card in table.cards if math.isfinite(card.summary["pcc"])}
    found = sorted({card.section for card in table.cards} - known)
    rest = ", and its mean is over the others" if known else ""
    lines = [f"no PCC in {', '.join(found)}: no gene of the panel varies there{rest}"] if found else []
    lacking: dict[tuple[str, ...], list[str]] = {}
    means = section_means(table.cards).map(math.isfinite)
    for section in sorted(known):
        here = means.xs(section, level="section")
        less = means.groupby("predictor").any().loc[here.index] & ~here
        if less.to_numpy().any():
            scores = map(str, less.columns[less.any()])
            lacking.setdefault(tuple(HEADINGS.get(name, name) for name in scores), []).append(section)
    return lines + [
        f"no {', '.join(scores)} in {', '.join(names)}: means are over the others" for scores, names in lacking.items()
    ]


def _by_section(table: Table) -> list[str]:
    means = section_means(table.cards)["pcc"].unstack("section")
    wide = means.reindex(index=table.rows.index, columns=list(dict.fromkeys(card.section for card in table.cards)))
    head = ["PCC by section", *map(str, wide.columns)]
    lines = ["| " + " | ".join(head) + " |", "| --- |" + " ---: |" * len(wide.columns)]
    cells = wide.map(lambda value: NONE if math.isnan(value) else f"{value:.3f}")
    return lines + ["| " + " | ".join([str(name), *row]) + " |" for name, row in cells.iterrows()]


def _numbers(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return the row with numbers as JSON has them: what is not a number, or infinite, becomes null."""
    return {key: _plain({key: value})[key] if isinstance(value, float) else value for key, value in row.items()}


def _plain(row: Mapping[Any, float]) -> dict[str, float | None]:
    return {str(key): to_digits(str(key), float(value)) if math.isfinite(value) else None for key, value in row.items()}


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
    lines = [LATEX, rf"% protocol {_one_line(table.protocol)}; {sections} test sections; leak: {table.leak.status}"]
    lines += [rf"\begin{{tabular}}{{l{'r' * len(scores)}}}", r"\toprule", _line([_escaped(word) for word in head]), r"\midrule"]
    for group in filter(None, (own, floors)):
        lines += [r"\midrule"] * (group is floors and bool(own))
        for name in group:
            fewer = "sections" if "sections" in table.partial.get(name, "") else "seeds"
            starred = f"{name} (fewer {fewer})" if name in table.partial else name
            numbers: dict[str, float] = dict(zip(map(str, table.rows), table.rows.loc[[name]].to_numpy(float)[0], strict=True))
            lines.append(_line([_escaped(starred), *(_latex_cell(s, numbers[s], numbers[f"{s}_sd"]) for s in scores)]))
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", ""])


def _line(cells: list[str]) -> str:
    return " & ".join(cells) + r" \\"


def _latex_cell(name: str, value: float, spread: float) -> str:
    told = "--" if math.isnan(value) else f"${words_of(name, value, spread)}$"
    return re.sub(r"e-0*(\d+)", r" \\cdot 10^{-\1}", told.replace("±", r"\pm"))


def _escaped(text: str) -> str:
    return "".join(SPECIAL.get(letter, letter) for letter in text)


def _one_line(text: str) -> str:
    return " ".join(text.split())


WRITERS: Mapping[str, Callable[[Table], str]] = {".csv": as_csv, ".tex": as_latex}
"""By the end of the file's name."""
