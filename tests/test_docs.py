"""Every command printed in README, docs and recipes is one that the programs take; the tutorial is run as it is printed."""

import argparse
import json
import os
import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bleep.cli import overrides
from bleep.cli.app import build_parser
from bleep.cli.training import build_parser as build_train_parser
from bleep.config import Config, recipe_names, recipes_folder

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "docs"))
from run_tutorial import NUMBER, blocks, rerun, skeleton  # noqa: E402

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
PAGES = [page for page in PAGES if "generated" not in page.parts and "_build" not in page.parts]


def commands(script: str) -> Iterator[list[str]]:
    """Yield the words of each command of ours in lines of bash."""
    for line in script.replace("\\\n", " ").splitlines():
        for part in re.split(r"\s(?:&&|\|)\s|;\s|\bdo\s", line):
            if re.match(r"\s*([A-Z_]+=\S+ )*(bleep|accelerate|torchrun)\s", part):
                words = shlex.split(re.sub(r"\$\w+", "1", part.split(" > ")[0]), comments=True)
                yield [word for word in words if word != "&" and not re.fullmatch(r"[A-Z_]+=.*", word)]


def printed() -> Iterator[tuple[str, list[str]]]:
    for page in PAGES:
        for block in blocks(page.read_text(encoding="utf-8")):
            if block.kind == "bash":
                yield from ((page.name, words) for words in commands(block.text))
    for recipe in (ROOT / "configs").rglob("*.yaml"):
        lines = [line.removeprefix("#") for line in recipe.read_text(encoding="utf-8").splitlines() if line.startswith("#   ")]
        yield from ((recipe.name, words) for words in commands("\n".join(lines)))


def check(words: list[str]) -> None:
    """Parse a command, and check its settings against the recipes it names, where these are ours."""
    if "bleep/train.py" in words or words[-2:] == ["-m", "bleep.train"] or "bleep.train" in words:
        place = next(at for at, word in enumerate(words) if word in ("bleep/train.py", "bleep.train"))
        arguments = build_train_parser().parse_args(words[place + 1 :])
    elif words[0] == "bleep":
        arguments = build_parser(words[1] if len(words) > 1 else "none").parse_args(words[1:])
    else:
        return
    if isinstance(getattr(arguments, "config", None), list):
        names = [path.as_posix().removeprefix("configs/").removesuffix(".yaml") for path in arguments.config]
        ours = [recipes_folder() / f"{name}.yaml" for name in names if name in recipe_names()]
        for path, name in zip(arguments.config, names, strict=True):
            assert name in recipe_names() or path.parts[0] != "configs" or "NAME" in name, f"{path}: no such recipe"
        Config.load(*ours, overrides(arguments))


@pytest.mark.parametrize(
    ("page", "words"), list(printed()), ids=lambda value: " ".join(value)[:60] if isinstance(value, list) else value
)
def test_a_printed_command_is_taken(page: str, words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    try:
        check(words)
    except SystemExit as end:
        pytest.fail(f"{page}: {shlex.join(words)}: {capsys.readouterr().err if end.code else 'prints its help'}")


def flags(parser: argparse.ArgumentParser) -> set[str]:
    return {option for action in parser._actions for option in action.option_strings}


def test_every_flag_named_beside_a_command_in_the_text_is_one_of_its_flags() -> None:
    root, known = build_parser(), {}
    for group in (action for action in root._actions if isinstance(action, argparse._SubParsersAction)):
        for name, child in group.choices.items():
            below = [a for a in child._actions if isinstance(a, argparse._SubParsersAction)]
            known |= {f"{name} {action}": flags(leaf) for one in below for action, leaf in one.choices.items()}
            known |= {} if below else {name: flags(child)}
    named = [
        (page.name, text) for page in PAGES for text in re.findall(r"(?<!`)`bleep ([^`\n]+)`(?!`)", page.read_text("utf-8"))
    ]
    assert len(named) > 50
    for page, text in named:
        words = text.split()
        command = " ".join(words[:2]) if " ".join(words[:2]) in known else words[0]
        assert command in known or words[0] in {name.split()[0] for name in known} or words[0].startswith("-"), (
            f"{page}: {text}"
        )
        unknown = {word for word in words if word.startswith("--")} - known.get(command, set()) - {"--version"}
        assert not unknown or command not in known, f"{page}: bleep {text}: {sorted(unknown)}"


@pytest.mark.slow
def test_the_page_on_files_names_every_entry_of_a_runs_files(trained: dict[str, Path]) -> None:
    text = (ROOT / "docs" / "reference" / "files.md").read_text(encoding="utf-8")
    missing = {
        f"{name}: {key}"
        for name in ("panel.json", "run.json", "reference/manifest.json")
        for key in json.loads((trained["contrastive"] / name).read_text())
        if f"`{key}`" not in text
    }
    assert missing == set()


def test_the_tutorial_on_tiles_says_what_comes_when_it_is_followed(warm: Path, tmp_path: Path) -> None:
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    (tmp_path / "bleep").symlink_to(ROOT / "bleep")
    page = (ROOT / "docs/tutorial/own-data.md").read_text(encoding="utf-8")
    again = rerun(page, tmp_path, last="### A last run on all tissue", tools=warm)
    for old, new in zip(blocks(page), blocks(again), strict=True):
        if old.kind == "text":
            there = {skeleton(line): line for line in old.text.splitlines()}
            for line in new.text.splitlines():
                before = [float(x) for x in NUMBER.findall(there[skeleton(line)])]
                after = [float(x) for x in NUMBER.findall(line)]
                # The text says that numbers differ by up to 0.1 with the machine and its threads.
                assert all(abs(a - b) <= (0.15 if abs(b) < 10 else 0) for a, b in zip(after, before, strict=True)), line
