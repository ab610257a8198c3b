"""What stands around the code agrees with it."""

import re
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def test_the_citation_is_of_this_version_and_licence() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["version"] == PROJECT["project"]["version"]
    assert citation["license"] == PROJECT["project"]["license"]


def test_the_workflow_runs_the_two_commands_that_are_run_on_a_desk() -> None:
    workflow = yaml.safe_load((ROOT / ".github/workflows/check.yml").read_text())
    runs = [step["run"] for step in workflow["jobs"]["test"]["steps"] if str(step.get("run", "")).startswith("make")]
    assert runs == ["make demo", "make test"]
    oldest = re.search(r"3\.\d+", PROJECT["project"]["requires-python"])
    assert oldest
    assert oldest.group() == workflow["jobs"]["test"]["strategy"]["matrix"]["python"][0]


def test_the_commit_hooks_are_of_checks_that_the_set_up_has() -> None:
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())
    names = {hook["id"].split("-")[0] for repo in hooks["repos"] for hook in repo["hooks"]}
    installed = {re.split(r"[>=\[]", word)[0] for word in PROJECT["project"]["optional-dependencies"]["dev"]}
    assert names <= installed


def test_no_page_and_no_message_sends_to_a_package_that_is_not_published() -> None:
    texts = [*(ROOT / "bleep").rglob("*.py"), *(ROOT / "docs").rglob("*.md"), ROOT / "README.md", ROOT / "CONTRIBUTING.md"]
    found = [str(path) for path in texts if re.search(r"install[^\n]*bleep-st", path.read_text(encoding="utf-8"))]
    assert found == []


@pytest.mark.parametrize(
    ("name", "least", "why"),
    [
        ("timm", (1, 0, 26), "loads weights by the weights-only way of its own accord"),
        ("torch", (2, 6), "does so where nothing is said"),
        ("filelock", (3, 20, 3), "follows no link in place of a lock"),
    ],
)
def test_no_version_is_admitted_that_trusts_what_a_stranger_gives(name: str, least: tuple[int, ...], why: str) -> None:
    (bound,) = re.findall(rf"^{name}>=([\d.]+)$", "\n".join(PROJECT["project"]["dependencies"]), re.MULTILINE)
    assert tuple(map(int, bound.split("."))) >= least, f"{name}: from {least} on it {why}"
