"""The results page, from the records that `bleep evaluate` left in benchmarks/results."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

SHOWN = {"pcc": "PCC", "pcc_heg50": "HEG50", "pcc_hvg50": "HVG50", "mse": "MSE", "variance_ratio": "var. ratio"}
FLOORS = ("ridge", "image-kNN", "ridge on colour", "mean")


def results_markdown(folder: Path) -> str:
    """Return a part for each record with predictors in it, in the order of their names."""
    lines: list[str] = []
    for path in sorted(folder.glob("*.json")):
        record = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(record, dict) and "predictors" in record and "sections" in record:
            lines += _part(path.stem, record)
    return "\n".join(lines) + "\n"


def _part(name: str, record: dict[str, Any]) -> Iterator[str]:
    yield from (f"## {record['protocol']}", "")
    yield from (f"Leak: **{record['leak']['status']}** ({record['leak']['detail']}).", "")
    if "inflated by" in record["facts"]:
        yield from (f"Inflated by: {record['facts']['inflated by']}.", "")
    shown = [key for key in SHOWN if any(key in row for row in record["predictors"].values())]
    yield "| predictor | " + " | ".join(SHOWN[key] for key in shown) + " |"
    yield "| --- |" + " ---: |" * len(shown)
    for predictor, row in record["predictors"].items():
        floor = " (floor)" if predictor in FLOORS else ""
        yield f"| {predictor}{floor} | " + " | ".join(_cell(row, key) for key in shown) + " |"
    sections = sorted({row["section"] for row in record["sections"]})
    seeds = sorted({row["seed"] for row in record["sections"]})
    spread = "mean ± standard deviation over test sections" if len(sections) > 1 else "one test section, so no spread"
    tested = "section" if len(sections) == 1 else "sections"
    yield from ("", f"{len(sections)} test {tested} ({', '.join(sections)}), {len(seeds)} seeds; {spread}.", "")
    yield from _said(record)
    command = record.get("command", f"python benchmarks/quality/run.py --protocol {name} --root ROOT --weights FILE")
    yield from ("```text", command, "```", "")


def _said(record: dict[str, Any]) -> Iterator[str]:
    """Yield what else is known: findings of the leak report, and what others published."""
    reports = record.get("leak_report")
    if reports is None:
        yield from ("The record was made before there was a leak report.", "")
        return
    found = dict.fromkeys(f"{f['severity']}, {f['kind']}: {f['detail']}" for one in reports for f in one["findings"])
    yield from (f"Leak report of {len(reports)} runs: {'; '.join(found) or 'no finding'}.", "")
    for row in record.get("published", []):
        trained = f"trained on {row['trained_on']}; {row['source']}"
        yield f"- published, {row['method']}, {row['part']}: {row['value']:.3f} ({trained})"
    yield ""


def _cell(row: dict[str, float | None], key: str) -> str:
    value, spread = row.get(key), row.get(f"{key}_sd")
    if value is None:
        return ""
    return f"{value:.3f}" if spread is None else f"{value:.3f} ± {spread:.3f}"
