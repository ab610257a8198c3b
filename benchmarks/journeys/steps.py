"""Steps of a journey: commands as a user types them, each timed, in a folder of its own; and the record of them."""

import os
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import final

from bleep.files import write_json, write_text

HERE = Path(__file__).resolve().parents[2]
RESULTS = HERE / "benchmarks" / "results"


@final
@dataclass(slots=True)
class Journey:
    """What was done in a folder, and what it took."""

    work: Path
    lines: list[dict[str, object]] = field(default_factory=list)

    def bleep(self, what: str, *words: object, codes: tuple[int, ...] = (0,)) -> str:
        """Run a command of bleep, and return what it said on standard output."""
        # Of a place outside the journey's folder the name alone: where it lies is of this machine.
        shown = " ".join(Path(str(word)).name if str(word).startswith("/") else str(word) for word in words)
        return self._run(what, f"bleep {shown}", [sys.executable, "-m", "bleep", *map(str, words)], codes)

    def python(self, what: str, script: str) -> str:
        """Run a few lines of Python."""
        return self._run(what, "Python", [sys.executable, "-c", script], (0,))

    def _run(self, what: str, shown: str, command: list[str], codes: tuple[int, ...]) -> str:
        path = os.pathsep.join(filter(None, [str(HERE), os.environ.get("PYTHONPATH", "")]))
        began = time.monotonic()
        env = {**os.environ, "PYTHONPATH": path, "HF_HUB_OFFLINE": "1"}
        done = subprocess.run(command, cwd=self.work, env=env, capture_output=True, text=True, check=False)
        seconds = time.monotonic() - began
        if done.returncode not in codes:
            sys.exit(f"{shown}\nended with {done.returncode}:\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}")
        self.lines.append({"step": what, "command": shown, "seconds": round(seconds, 1)})
        print(f"{seconds:7.1f} s  {what}", flush=True)
        return done.stdout

    def seconds(self, first: str, last: str) -> float:
        """Return what the steps from one to another took together."""
        steps = [str(line["step"]) for line in self.lines]
        part = self.lines[steps.index(first) : steps.index(last) + 1]
        return sum(float(str(line["seconds"])) for line in part)

    def record(self, name: str, title: str, facts: dict[str, object]) -> None:
        """Write the record as Markdown and JSON."""
        cores, load = len(os.sched_getaffinity(0)), os.getloadavg()[2]
        facts = {**facts, "cores": cores, "threads": os.environ.get("OMP_NUM_THREADS", "all"), "load of 15 min": round(load, 1)}
        write_json(RESULTS / f"journey-{name}.json", {"steps": self.lines, "facts": facts})
        rows = [f"| {line['step']} | `{line['command']}` | {line['seconds']} |" for line in self.lines]
        notes = [f"- {key}: {value}" for key, value in facts.items()]
        head = ["| step | command | seconds |", "| --- | --- | ---: |"]
        write_text(RESULTS / f"journey-{name}.md", "\n".join([f"# {title}", "", *head, *rows, "", *notes, ""]))
