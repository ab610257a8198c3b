"""An archive of slides: whole files, a ledger, failures that stop nothing; and Ray, which gives the same bytes."""

import contextlib
import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import psutil
import pytest
import yaml
from PIL import Image

from bleep.cli.app import main
from bleep.data.slides import ArraySlide, PictureSlide
from bleep.data.toy import toy_section
from bleep.errors import BleepError, ConfigError, DataError, MismatchError, StoppedError
from bleep.workflows.archive import LEDGER, Job, Outcome, find_slides, here, predict_archive
from bleep.workflows.ray_engine import Cluster

SLIDE = {"mpp": 1.0, "step": None, "mask": None, "pixel_limit": None}
NAMES = ("a", "b", "c", "d")


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four toy slides on glass, and one that is damaged."""
    root = tmp_path_factory.mktemp("archive")
    for seed, name in enumerate(NAMES):
        slide = toy_section(name, "donor9", 70 + seed, side=320).slide
        assert isinstance(slide, ArraySlide)
        Image.fromarray(np.pad(slide.pixels, ((60, 60), (60, 60), (0, 0)), constant_values=240)).save(root / f"{name}.png")
    (root / "broken.png").write_bytes((root / "a.png").read_bytes()[:3000])
    return root


@pytest.fixture(scope="module")
def slides(archive: Path) -> dict[str, Path]:
    return {name: archive / f"{name}.png" for name in NAMES}


@pytest.fixture
def job(trained: dict[str, Path], tmp_path: Path) -> Job:
    return Job(trained["contrastive"], tmp_path / "out", ".csv", slide=SLIDE)


def written(out: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in out.iterdir() if path.name != LEDGER}


def test_each_slide_is_what_a_query_of_it_alone_writes(job: Job, slides: dict[str, Path], tmp_path: Path) -> None:
    outcomes, before = predict_archive(job, slides, here)
    assert ([each.name for each in outcomes], before) == (list(NAMES), 0)
    for name, path in slides.items():
        alone = tmp_path / "alone" / f"{name}.csv"
        assert main(["query", "--slides", str(path), "--mpp", "1", "--run", str(job.run), "--out", str(alone)]) == 0
    assert written(job.out) == written(tmp_path / "alone")


def test_sigterm_ends_an_archive_and_is_no_failure_of_the_slide_that_was_read(
    job: Job, slides: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    # On a grid of its own: other tests have cached the features of the usual one, and nothing would be read.
    job, region, read = replace(job, slide=SLIDE | {"step": 70.0}), PictureSlide.region, []

    def asked(slide: PictureSlide, *box: Any) -> np.ndarray:
        read.append(slide.path.stem)
        if read.count("b") == 5:
            os.kill(os.getpid(), signal.SIGTERM)
        return region(slide, *box)

    monkeypatch.setattr(PictureSlide, "region", asked)
    with pytest.raises(StoppedError, match="finished slides are kept: the same command goes on"):
        predict_archive(job, slides, here)
    assert sorted(set(read)) == ["a", "b"]
    assert predict_archive(job, slides, here)[1] == 1


def test_a_second_call_goes_on_where_the_first_was_stopped(job: Job, slides: dict[str, Path]) -> None:
    def dying(job: Job, waiting: Mapping[str, Path]) -> Iterator[Outcome]:
        for number, outcome in enumerate(here(job, waiting)):
            if number == 2:
                raise KeyboardInterrupt
            yield outcome

    with pytest.raises(KeyboardInterrupt):
        predict_archive(job, slides, dying)
    with (job.out / LEDGER).open("a") as ledger:
        ledger.write('{"slide": "c", "ma')  # cut short by the death
    (job.out / ".c.csv.abcd1234.part").write_text("half")
    outcomes, before = predict_archive(job, slides, here)
    assert ([each.name for each in outcomes], before) == (["c", "d"], 2)
    assert not list(job.out.glob(".*"))
    assert predict_archive(job, slides, here) == ([], 4)
    job.place("b").unlink()
    assert [each.name for each in predict_archive(job, slides, here)[0]] == ["b"]


def test_a_second_archive_is_not_predicted_into_a_folder_at_the_same_time(job: Job, slides: dict[str, Path]) -> None:
    def meanwhile(job: Job, waiting: Mapping[str, Path]) -> Iterator[Outcome]:
        parts = job.out / ".b.csv.parts"
        parts.mkdir()
        with pytest.raises(DataError, match="another archive is being predicted there; wait until it has finished"):
            predict_archive(job, slides, here)
        assert parts.is_dir()
        parts.rmdir()
        yield from here(job, {"a": waiting["a"]})

    predict_archive(job, slides, meanwhile)
    assert len((job.out / LEDGER).read_text().splitlines()) == 1
    assert not list(job.out.glob(".*"))


def test_a_slide_that_has_changed_is_predicted_again(job: Job, slides: dict[str, Path], tmp_path: Path) -> None:
    own = {"a": shutil.copy(slides["a"], tmp_path / "a.png")}
    predict_archive(job, own, here)
    shutil.copy(slides["b"], own["a"])
    assert len(predict_archive(job, own, here)[0]) == 1


def test_a_slide_whose_mask_was_edited_is_predicted_again(job: Job, slides: dict[str, Path], tmp_path: Path) -> None:
    masks, white = tmp_path / "masks", np.full((44, 44), 255, np.uint8)
    masks.mkdir()
    for name in ("a", "b"):
        Image.fromarray(white).save(masks / f"{name}.png")
    job, two = replace(job, slide=SLIDE | {"mask": masks}), {name: slides[name] for name in ("a", "b")}
    first, _ = predict_archive(job, two, here)
    white[:, :22] = 0
    Image.fromarray(white).save(masks / "b.png")
    (again,), before = predict_archive(job, two, here)
    assert (again.name, again.failure, before) == ("b", "", 1)
    assert again.tiles < first[1].tiles


def test_a_slide_whose_ready_made_features_changed_is_predicted_again(
    job: Job, slides: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job, features = replace(job, run=tmp_path / "run"), tmp_path / "h5"
    for folder in (job.run, features):
        folder.mkdir()
    settings = {"image": {"trunk": "features"}, "data": {"features": str(features)}}
    (job.run / "config.yaml").write_text(yaml.safe_dump(settings))

    def engine(job: Job, waiting: Mapping[str, Path]) -> Iterator[Outcome]:
        for name in waiting:
            job.place(name).write_text(name)
            yield Outcome(name, 1)

    # Features of an archive are too many to read them all before the first slide, or to find that none is left.
    monkeypatch.setattr("hashlib.file_digest", Mock(side_effect=AssertionError))
    large = bytes(3 * 2**20)
    steps = ((b"1", list(NAMES)), (b"1", []), (b"2", ["a"]), (b"2", []), (large + b"1", ["a"]), (large + b"2", ["a"]))
    for value, expected in steps:
        (features / "a.h5").write_bytes(value)
        assert [each.name for each in predict_archive(job, slides, engine)[0]] == expected


def test_a_slide_that_was_trained_on_is_told(job: Job, files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    argv = ["query", "--slides", files / "st2k" / "toy1" / "toy1.jpg", "--mpp", 1, "--run", job.run, "--out-dir", job.out]
    assert main([str(word) for word in argv]) == 0
    assert "is the picture of section toy1, which was trained on" in capsys.readouterr().err


def test_another_question_does_not_go_on_with_the_folder(job: Job, slides: dict[str, Path]) -> None:
    predict_archive(job, {"a": slides["a"]}, here)
    with pytest.raises(MismatchError, match="by another run, index or question"):
        predict_archive(replace(job, where="section != 'toy1'"), slides, here)
    (job.out / LEDGER).write_text("nonsense\n" + (job.out / LEDGER).read_text())
    with pytest.raises(DataError, match="line 1 is damaged"):
        predict_archive(job, slides, here)


def test_a_slide_that_fails_is_told_at_the_end_and_stops_nothing(
    trained: dict[str, Path], archive: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [
        "query",
        "--slides",
        str(archive / "*.png"),
        "--mpp",
        "1",
        "--run",
        str(trained["contrastive"]),
        "--engine",
        "here",
    ]
    assert main([*words, "--out", str(tmp_path / "out"), "--form", ".parquet"]) == 3
    said = capsys.readouterr()
    assert "slide broken:" in said.err
    assert "4 slides predicted" in said.out
    assert "1 failed" in said.out
    assert {path.name for path in (tmp_path / "out").glob("*.parquet")} == {
        f"{name}{end}" for name in NAMES for end in (".parquet", ".neighbours.parquet")
    }
    assert main([*words[:3], *words[3:], "--out", str(tmp_path / "out"), "--form", ".parquet"]) == 3
    assert "0 slides predicted (0 tiles), 4 done before, 1 failed" in capsys.readouterr().out


def test_one_mask_is_not_laid_over_several_slides(job: Job, slides: dict[str, Path], tmp_path: Path) -> None:
    Image.new("L", (8, 8), 255).save(tmp_path / "mask.png")
    with pytest.raises(DataError, match=rf"mask.png: is one mask for {len(slides)} slides; give a folder"):
        predict_archive(replace(job, slide={**SLIDE, "mask": tmp_path / "mask.png"}), slides, here)
    with pytest.raises(DataError, match=r"gone.png: no such mask"):
        predict_archive(replace(job, slide={**SLIDE, "mask": tmp_path / "gone.png"}), slides, here)
    assert not job.out.exists()


def test_a_question_that_is_refused_leaves_no_ledger(job: Job, slides: dict[str, Path]) -> None:
    for where in (False, True):
        if where:
            job.out.mkdir()
            (job.out / "mine.txt").write_text("mine")
        with pytest.raises(ConfigError, match="--where"):
            predict_archive(replace(job, where="nothing == 'x'"), slides, here)
        assert not (job.out / LEDGER).exists()
        assert job.out.exists() == where, "a folder that was there stays, with what is in it"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"genes": ("NOPE",)}, "--genes: the run's panel of 12 genes has no 'NOPE'"),
        ({"dtype": "float16"}, "float16 is for"),
        ({"predictor": "regression"}, "regression"),
    ],
)
def test_what_no_slide_can_give_is_refused_before_the_first_is_opened(
    change: dict[str, Any], words: str, job: Job, slides: dict[str, Path]
) -> None:
    with pytest.raises(BleepError, match=words):
        predict_archive(replace(job, **change), slides, here)
    assert not job.out.exists()


def test_a_run_of_unknown_scale_is_given_no_archive(job: Job, slides: dict[str, Path], tmp_path: Path) -> None:
    for source in ("folder", "patches"):
        own = tmp_path / source
        shutil.copytree(job.run, own)
        settings = yaml.safe_load((own / "config.yaml").read_text())
        settings["data"] |= {"source": source, "mpp": None}
        (own / "config.yaml").write_text(yaml.safe_dump(settings))
        with pytest.raises(MismatchError, match=r"ready-cut tiles without data\.mpp"):
            predict_archive(replace(job, run=own), slides, here)
        assert (
            main(["query", "--slides", str(slides["a"]), "--mpp", "1", "--run", str(own), "--out", str(tmp_path / "p.csv")])
            == 2
        )


@pytest.mark.parametrize("engine", [["--engine", "here"], []])
def test_a_list_of_no_genes_is_not_all_genes(
    engine: list[str], trained: dict[str, Path], slides: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [
        "query",
        "--slides",
        str(slides["a"]),
        "--mpp",
        "1",
        "--run",
        str(trained["contrastive"]),
        "--genes",
        " , ",
        *engine,
    ]
    assert main([*words, "--out", str(tmp_path / ("out" if engine else "out.csv"))]) == 2
    assert "names no gene; leave the flag out" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--engine", "ray", "--images", "x"], "is for whole slides"),
        (["--engine", "here", "--slides", "x", "--out", "out.csv"], "expected a folder"),
        (["--engine", "here", "--slides", "x", "--resume"], "--resume: is for one prediction"),
        (["--engine", "ray", "--slides", "x", "--workers", "0"], "--workers 0: expected 1 or more"),
        (["--slides", "x", "--workers", "2"], "belong to --engine ray"),
        (["--slides", "x", "--form", ".csv"], "--form belongs to --engine"),
        (["--engine", "here", "--slides", "nothing/*.svs"], "matches no file"),
    ],
)
def test_flags_that_do_not_go_together_are_refused(
    words: list[str], said: str, trained: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["query", "--run", str(trained["contrastive"]), *words]) == 2
    assert said in capsys.readouterr().err


def test_who_leads_workers_imports_nothing_heavy() -> None:
    said = "import sys, bleep.workflows.ray_engine; print(sorted({'torch', 'anndata', 'timm', 'faiss'} & sys.modules.keys()))"
    done = subprocess.run([sys.executable, "-c", said], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_two_slides_of_one_name_are_refused(archive: Path, tmp_path: Path) -> None:
    shutil.copy(archive / "a.png", tmp_path / "a.png")
    with pytest.raises(DataError, match="would both be written as 'a'"):
        find_slides([archive / "a.png", tmp_path])


@pytest.mark.slow
def test_ray_gives_the_same_bytes_and_a_killed_worker_costs_at_most_its_slide(
    job: Job, slides: dict[str, Path], tmp_path: Path
) -> None:
    pytest.importorskip("ray", reason="Ray is not installed: pip install -e '.[ray]'")
    alone = replace(job, out=tmp_path / "alone")
    predict_archive(alone, slides, here)
    killed: list[int] = []

    def killing(job: Job, waiting: Mapping[str, Path]) -> Iterator[Outcome]:
        for outcome in Cluster(workers=2)(job, waiting):
            workers = [each for each in psutil.Process().children(recursive=True) if "_Actor" in each.name()]
            for worker in [each for each in workers if each.pid not in killed][: len(killed) < 2]:
                (worker.terminate if killed else worker.kill)()
                killed.append(worker.pid)
            yield outcome

    outcomes, _ = predict_archive(job, slides, killing)
    assert killed
    assert sorted(each.name for each in outcomes) == list(NAMES)
    assert not any(each.failure for each in outcomes)
    assert written(job.out) == written(alone.out)
    lines = [json.loads(line) for line in (job.out / LEDGER).read_text().splitlines()]
    assert sorted(line["slide"] for line in lines) == list(NAMES)


def test_a_worker_that_is_stopped_ends_and_what_one_warns_of_is_said_once(
    job: Job, slides: dict[str, Path], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    pytest.importorskip("ray", reason="Ray is not installed: pip install -e '.[ray]'")
    monkeypatch.setattr("ray.actor.exit_actor", lambda: sys.exit("the worker ends"))

    def predict(worker: object, name: str, path: Path) -> Outcome:
        if name == "d":
            raise StoppedError("asked to stop")
        logging.getLogger("bleep.elsewhere").warning("was trained on")
        return Outcome(name)

    def spread(cluster: Cluster, opening: Callable[[], Any], tasks: Mapping[str, tuple[Any, ...]]) -> Iterator[tuple[str, Any]]:
        do = opening()
        yield from [(name, do(*task)) for name, task in tasks.items() if name != "d"]
        with pytest.raises(SystemExit, match="the worker ends"):
            do(*tasks["d"])

    monkeypatch.setattr("bleep.workflows.archive.Worker.predict", predict)
    monkeypatch.setattr(Cluster, "_spread", spread)
    assert [each.name for each in Cluster()(job, slides)] == sorted("abc", key=lambda n: -slides[n].stat().st_size)
    led = [record.message for record in caplog.records if record.name == "bleep.workflows.ray_engine"]
    assert led == ["was trained on"]


@pytest.mark.slow
def test_an_index_embedded_by_ray_is_the_same_bytes_though_a_worker_is_killed(
    run_copy: Callable[..., Path], tmp_path: Path
) -> None:
    pytest.importorskip("ray", reason="Ray is not installed: pip install -e '.[ray]'")
    folder, alone = run_copy(name="spread"), run_copy(name="alone")
    killed: list[int] = []

    def kill() -> None:
        deadline = time.monotonic() + 120
        while not killed and time.monotonic() < deadline:
            for child in psutil.Process().children(recursive=True):
                with contextlib.suppress(psutil.NoSuchProcess):
                    if "_Actor" in child.name() and not killed:
                        child.kill()
                        killed.append(child.pid)
            time.sleep(0.05)

    words = ["index", "build", "--index.keys", "both", "--run"]
    thread = threading.Thread(target=kill)
    thread.start()
    assert main([*words, str(folder), "--engine", "ray", "--workers", "2"]) == 0
    thread.join()
    assert killed
    assert main([*words, str(alone)]) == 0
    files = {path.name for path in (alone / "reference").iterdir() if path.suffix in (".npy", ".parquet", ".faiss")}
    assert {name.split("-")[0].split(".")[0] for name in files} == {"vectors", "queries", "expression", "spots", "index"}
    for name in files:
        assert (folder / "reference" / name).read_bytes() == (alone / "reference" / name).read_bytes(), name


@pytest.mark.slow
def test_a_run_that_does_not_open_and_too_little_room_end_in_a_sentence(
    job: Job, slides: dict[str, Path], tmp_path: Path
) -> None:
    pytest.importorskip("ray", reason="Ray is not installed: pip install -e '.[ray]'")
    with pytest.raises(ConfigError, match="names a column 'organ'"):
        predict_archive(replace(job, where="organ == 'x'"), slides, Cluster(workers=1))
    with pytest.raises(ConfigError, match=r"Ray has .* CPUs"):
        predict_archive(job, slides, Cluster(workers=1, cpus=1e4))
