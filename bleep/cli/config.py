"""`bleep config`: show the settings that result, and what each means."""

import argparse

from bleep.cli.flags import add_settings, load_settings


def add(parser: argparse.ArgumentParser) -> None:
    """Add the subcommands."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    show = actions.add_parser(
        "show", help="print the settings that recipes and flags give, defaults included", allow_abbrev=False
    )
    add_settings(show)
    show.set_defaults(run_command=_show)
    docs = actions.add_parser("docs", help="print every setting with its meaning, as Markdown", allow_abbrev=False)
    docs.set_defaults(run_command=_docs)
    names = actions.add_parser("list", help="list the recipes that came with bleep, by name", allow_abbrev=False)
    names.set_defaults(run_command=_list)


def _show(arguments: argparse.Namespace) -> int:
    import yaml

    print(yaml.safe_dump(load_settings(arguments).dump(), sort_keys=False), end="")
    return 0


def _docs(arguments: argparse.Namespace) -> int:
    print(settings_markdown(), end="")
    return 0


def _list(arguments: argparse.Namespace) -> int:
    from bleep.config.recipes import described_recipes, recipes_folder

    for name, text in described_recipes():
        print(f"{name}: {text}")
    print(f"files: {recipes_folder()}")
    print("next: bleep config show --config NAME")
    return 0


def settings_markdown() -> str:
    """Return a table of every setting, a part for each section of the tree."""
    from bleep.config import describe_fields

    lines: list[str] = []
    part = ""
    for name, kind, default, text in describe_fields():
        head = name.split(".")[0] if "." in name else "run"
        if head != part:
            part = head
            lines += ["", f"## {head}", "", "| setting | takes | default | meaning |", "| --- | --- | --- | --- |"]
        lines.append(f"| `{name}` | {kind.replace('|', 'or')} | `{default or '(empty)'}` | {text} |".replace("\n", " "))
    return "\n".join(lines[1:]) + "\n"
