"""A run that was pushed to the hub is one link: the same there, pinned, checked part by part, and without a network too."""

import json
import os
import shlex
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bleep
from bleep.cli import app
from bleep.data.section import Section
from bleep.errors import ConfigError, DataError
from bleep.workflows.hub import pull, push
from bleep.workflows.pack import MANIFEST
from tests.workflows.hub_server import TOKEN, Hub, serving


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with serving() as one:
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
        monkeypatch.setenv("HF_ENDPOINT", one.url)
        monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub-cache"))
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        monkeypatch.setenv("HF_HUB_DISABLE_PROGRESS_BARS", "1")
        monkeypatch.chdir(tmp_path)
        yield one


def test_what_was_pushed_predicts_the_same_bits_by_its_link(
    hub: Hub, trained: dict[str, Path], toys: tuple[Section, ...]
) -> None:
    link = push(trained["contrastive"], "lab/toy")
    assert hub.private["lab/toy"]
    assert link == f"hf:lab/toy@{hub.commits['lab/toy'][-1][0]}"
    here, there = bleep.load(trained["contrastive"]), bleep.load(link)
    tiles = here.tiles(toys[2:3])
    np.testing.assert_array_equal(here.predict(tiles).expression, there.predict(tiles).expression)
    names = set(hub.commits["lab/toy"][-1][1]) - {".gitattributes"}
    assert {"README.md", "model.safetensors", "panel.json", MANIFEST} <= names
    assert {Path(name).suffix for name in names} <= {
        ".md",
        ".json",
        ".jsonl",
        ".yaml",
        ".safetensors",
        ".faiss",
        ".npy",
        ".parquet",
    }
    assert TOKEN.encode() not in b"".join(hub.commits["lab/toy"][-1][1].values())


def test_a_link_with_a_commit_stays_as_it_was_and_one_without_is_the_newest(hub: Hub, trained: dict[str, Path]) -> None:
    first = push(trained["contrastive"], "lab/toy")
    second = push(trained["regression"], "lab/toy", reference=False)
    assert first != second
    assert (pull(first) / "reference").is_dir()
    # What the first push sent and the second left out is gone from the newest revision.
    assert not any(name.startswith("reference/") for name in hub.commits["lab/toy"][-1][1])
    assert pull("hf:lab/toy") == pull(second)
    assert not (pull("hf:lab/toy") / "reference").exists()


def test_what_was_pulled_once_serves_without_a_network(
    hub: Hub, trained: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    link = push(trained["regression"], "lab/toy", reference=False)
    folder = pull("hf:lab/toy")
    asked = len(hub.asked)
    assert pull(link) == folder
    assert len(hub.asked) == asked
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{free.getsockname()[1]}")
        assert pull("hf:lab/toy") == folder
        with pytest.raises(DataError, match=r"lab/other: (is not in the cache, and )?the hub cannot be reached"):
            pull("hf:lab/other")


def test_a_part_that_is_not_what_the_manifest_says_is_refused(hub: Hub, trained: dict[str, Path]) -> None:
    push(trained["regression"], "lab/toy", reference=False)
    files = hub.commits["lab/toy"][-1][1]
    longer = files["log.jsonl"] + b"\n"
    hub.commit("lab/toy", {"log.jsonl": longer})
    with pytest.raises(DataError, match=r"log\.jsonl has .* bytes there, more than the"):
        pull("hf:lab/toy")
    hub.commit("lab/toy", {"log.jsonl": files["log.jsonl"].replace(b"1", b"2")})
    with pytest.raises(DataError, match=r"log\.jsonl is not what its manifest says"):
        pull("hf:lab/toy")
    tree = json.loads(files[MANIFEST])
    tree["files"]["../hook.py"] = {"bytes": 2, "sha256": "0" * 64}
    hub.commit("lab/toy", {MANIFEST: json.dumps(tree).encode(), "../hook.py": b"{}"})
    with pytest.raises(DataError, match="which no run has"):
        pull("hf:lab/toy")
    hub.commit("lab/toy", {MANIFEST: None})
    with pytest.raises(DataError, match="holds no run of bleep"):
        pull("hf:lab/toy")


@pytest.mark.parametrize(
    ("link", "words"),
    [
        ("hf:lab/gone", "the hub has no such repository"),
        ("hf:lab/toy@" + "0" * 40, "has no such revision"),
        ("hf:lab", "names no run on the hub"),
        ("hf:../..", "names no run on the hub|is no name the hub takes"),
        ("hf:a--b/..", "is no name the hub takes"),
    ],
)
def test_a_link_that_leads_to_no_run_is_a_sentence(link: str, words: str, hub: Hub) -> None:
    hub.commits["lab/toy"], hub.private["lab/toy"] = [], False
    hub.commit("lab/toy", {"a": b"b"})
    with pytest.raises((DataError, ConfigError), match=words):
        pull(link)


def test_a_run_of_others_that_one_may_not_see_is_a_sentence(
    hub: Hub, trained: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    push(trained["regression"], "lab/toy", reference=False)
    monkeypatch.setenv("HF_TOKEN", "hf_of_nobody")
    with pytest.raises(DataError, match=r"shows it to others alone \(HTTP 401\); check the name, or log in"):
        pull("hf:lab/toy")
    with pytest.raises(DataError, match=r"lab/mine: .*HTTP 401"):
        push(trained["regression"], "lab/mine", reference=False)
    assert "lab/mine" not in hub.commits


def test_three_commands_from_a_folder_to_a_page_of_another(
    hub: Hub, trained: dict[str, Path], toys: Any, files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert app.main(["push", str(trained["contrastive"]), "lab/toy"]) == 0
    link = capsys.readouterr().out.split("--run ")[-1].strip()
    query = ["query", "--run", link, "--images", str(files / "st2k" / "toy3"), "--out", "p.h5ad", "--report", "page.html"]
    assert app.main(query) == 0
    assert f"run: {link}" in capsys.readouterr().out
    assert (tmp_path / "page.html").stat().st_size > 10_000
    for command in (["index", "build"], ["index", "remove", "--section", "toy1"], ["calibrate"], ["evaluate"]):
        assert app.main([*command, "--run", link]) == 2
        said = capsys.readouterr().err
        assert f"make one of your own by `bleep pull {link} --out FOLDER`" in said
    assert app.main(["push", link, "lab/copy"]) == 0
    assert hub.commits["lab/copy"][-1][1]["model.safetensors"] == hub.commits["lab/toy"][-1][1]["model.safetensors"]
    assert app.main(["pull", link, "--out", "mine"]) == 0
    assert app.main(["index", "verify", "--run", "mine"]) == 0
    assert app.main(["pull", link, "--out", "mine"]) == 2


@pytest.mark.slow
def test_the_three_commands_of_the_page_work_in_an_empty_folder(
    hub: Hub, trained: dict[str, Path], files: Path, tmp_path: Path, repository: Path
) -> None:
    page = (repository / "docs/how-to/share.md").read_text(encoding="utf-8")
    block = page.split("## A run of others in three commands")[1].split("```bash\n")[1].split("```")[0]
    push(trained["contrastive"], "lab/toy", public=True)
    commands = block.replace("hf:laboratory/released-mob", "hf:lab/toy").replace("bulbs/", f"{files / 'st2k' / 'toy3'}/")
    pull_it, query_it, open_it = commands.strip().splitlines()
    assert open_it.endswith(" page.html")
    folder = tmp_path / "empty"
    folder.mkdir()
    # Processes of their own, since the hub's library asks only as it is imported whether there is a network.
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "HF_HUB_OFFLINE": "0", "PATH": path, "PYTHONPATH": str(repository)}
    environment.pop("HF_TOKEN")
    for command in (pull_it, query_it):
        done = subprocess.run(shlex.split(command), cwd=folder, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    assert {path.name for path in folder.iterdir()} >= {"released", "page.html"}
    text = (folder / "page.html").read_text(encoding="utf-8")
    genes = json.loads((folder / "released/panel.json").read_text())["genes"]
    assert all(gene in text for gene in genes)
