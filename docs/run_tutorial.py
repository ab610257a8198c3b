"""Run the commands of a page as they are printed, and put what they say into the page.

    python docs/run_tutorial.py docs/tutorial/own-data.md

Every `bash` block is run in one new folder, every `yaml` block after "Write this to `NAME`" is written there. A `text` block
after a command shows lines of its output: those lines are looked up by their words, and get the numbers of this run.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import final

REPOSITORY = Path(__file__).resolve().parents[1]
FENCE = re.compile(r"^```(\w+)\n(.*?)^```\n", re.MULTILINE | re.DOTALL)
NAMED = re.compile(r"Write this to `([\w.]+)`:\s*$")
NUMBER = re.compile(r"-?\d*\.?\d+")
ELSEWHERE = ("pip install", "bleep doctor", "pretrained=True", "--image.weights", "--image.layer $layer", "layer*/log.jsonl")
"""Commands with these words are not run: they are about the machine, need the network, or are a search of many trainings."""


@final
@dataclass(frozen=True, slots=True)
class Block:
    """One fenced block of a page."""

    kind: str
    text: str
    start: int
    end: int
    before: str
    """The prose just before it."""


def blocks(page: str) -> list[Block]:
    """Return the fenced blocks of a page in order."""
    return [Block(m.group(1), m.group(2), m.start(2), m.end(2), page[: m.start()].rstrip()) for m in FENCE.finditer(page)]


def skeleton(line: str) -> str:
    """Return a line without its numbers and the width of its columns."""
    return " ".join(NUMBER.sub("#", line).split())


TOOLS = Path(sys.executable).parent
"""Where `bleep`, `accelerate` and `python` are."""


def rerun(page: str, folder: Path, last: str | None = None, tools: Path = TOOLS) -> str:
    """Return the page with the numbers of a run in `folder`; with `last`, only up to the heading of that text.

    Raises:
        AssertionError: a command fails, or does not print a line that the page shows.

    """
    said, parts, at = "", [], 0
    for block in blocks(page):
        if last is not None and last in block.before:
            break
        named = NAMED.search(block.before)
        if block.kind == "yaml" and named:
            (folder / named.group(1)).write_text(block.text, encoding="utf-8")
        elif block.kind == "bash" and not any(words in block.text for words in ELSEWHERE):
            said = run(block.text, folder, tools)
        elif block.kind == "text" and said:
            wanted = {skeleton(line) for line in block.text.splitlines() if line.strip()}
            found = [line for line in said.splitlines() if skeleton(line) in wanted or not line.strip()]
            missing = wanted - {skeleton(line) for line in found}
            assert not missing, f"not printed: {sorted(missing)}; but\n{said}"
            parts += [page[at : block.start], re.sub(r"\n{3,}", "\n\n", "\n".join(found).strip()) + "\n"]
            at = block.end
    return "".join(parts) + page[at:]


def run(script: str, folder: Path, tools: Path) -> str:
    """Run lines of bash in a folder, with the programs of `tools`, and return what they print on standard output."""
    environment = {
        **os.environ,
        "PATH": f"{tools}{os.pathsep}{os.environ['PATH']}",
        "ACCELERATE_USE_CPU": "1",
        "PYTHONPATH": str(REPOSITORY),
    }
    done = subprocess.run(
        ["bash", "-euc", script], cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=1800
    )
    assert done.returncode == 0, f"{script}\n{done.stdout[-1000:]}\n{done.stderr[-3000:]}"
    return done.stdout


def main() -> None:
    """Rewrite the pages named on the command line."""
    for name in sys.argv[1:]:
        path, folder = Path(name), Path(tempfile.mkdtemp())
        (folder / "bleep").symlink_to(REPOSITORY / "bleep")
        path.write_text(rerun(path.read_text(encoding="utf-8"), folder), encoding="utf-8")
        shutil.rmtree(folder)
        print(f"run and rewritten: {path}")


if __name__ == "__main__":
    main()
