"""Pages made at each build: settings, commands, the Python interface, and the results kept in benchmarks/results."""

import argparse
from collections.abc import Iterator
from pathlib import Path

from python_reference import python_markdown
from results_table import results_markdown

from bleep.cli.app import build_parser
from bleep.cli.setup import settings_markdown

RESULTS = Path(__file__).resolve().parents[1] / "benchmarks/results"


def write_pages(folder: Path) -> None:
    """Write `config.md`, `cli.md`, `python.md` and `results.md`; a page that would not change is left alone."""
    folder.mkdir(parents=True, exist_ok=True)
    texts = {"config.md": settings_markdown(), "cli.md": commands_markdown(), "results.md": results_markdown(RESULTS)}
    texts["python.md"] = python_markdown()
    for name, text in texts.items():
        path = folder / name
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")


def commands_markdown() -> str:
    """Return a part for each command."""
    lines: list[str] = []
    for parser in _leaves(build_parser()):
        lines += [f"## {parser.prog}", "", *_description(parser), *_usage(parser), *_flags(parser)]
    return "\n".join(lines) + "\n"


def _leaves(parser: argparse.ArgumentParser, text: str = "") -> Iterator[argparse.ArgumentParser]:
    groups = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    if not groups:
        if not parser.description and text:
            parser.description = text[0].upper() + text[1:] + "."
        yield parser
    for group in groups:
        helps = {choice.dest: choice.help or "" for choice in group._choices_actions}
        for name, child in group.choices.items():
            yield from _leaves(child, helps.get(name, ""))


def _description(parser: argparse.ArgumentParser) -> list[str]:
    return [parser.description, ""] if parser.description else []


def _usage(parser: argparse.ArgumentParser) -> list[str]:
    formatter = argparse.HelpFormatter(prog=parser.prog, width=100)
    formatter.add_usage(parser.usage, parser._actions, parser._mutually_exclusive_groups)
    return ["```text", formatter.format_help().strip(), "```", ""]


def _flags(parser: argparse.ArgumentParser) -> list[str]:
    own = [action for action in parser._actions if not (_settings(parser) and action.dest.startswith("set:"))]
    link = ["Every setting is a flag too: see [Settings](config.md).", ""] if _settings(parser) else []
    return [*_table(own), *link]


def _settings(parser: argparse.ArgumentParser) -> bool:
    """Return whether a command takes all settings; one that takes some of them lists these like its other flags."""
    return any(action.dest == "config" for action in parser._actions)


def _table(actions: list[argparse.Action]) -> list[str]:
    rows = [_row(action) for action in actions if not isinstance(action, argparse._HelpAction)]
    return ["| argument | default | meaning |", "| --- | --- | --- |", *rows, ""] if rows else []


def _row(action: argparse.Action) -> str:
    name = ", ".join(action.option_strings) or action.dest
    takes = " or ".join(map(str, action.choices)) if action.choices else str(action.metavar or action.dest).upper()
    shown = f"{name} {takes}" if action.option_strings and action.nargs != 0 else name
    if action.required or (not action.option_strings and action.nargs not in ("?", "*")):
        default = "required"
    else:
        default = "" if action.default is None or action.default is False or action.default == [] else f"`{action.default}`"
    meaning = " ".join((action.help or "").split()).replace("%%", "%").replace("|", "\\|")
    return f"| `{shown}` | {default} | {meaning} |"
