"""A reference that grows: what is added, removed and merged, and what is refused."""

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from scipy import sparse

from bleep.config import Config
from bleep.data.section import Section
from bleep.data.slides import ArraySlide
from bleep.data.toy import toy_section
from bleep.errors import DataError, MismatchError
from bleep.files import read_json, write_json
from bleep.retrieval.reference import Reference, build, change, identity, storage, verify
from bleep.retrieval.reference import reference as record
from bleep.retrieval.reference.identity import check_places
from bleep.runs import Run
from bleep.workflows import query as indexing
from bleep.workflows.evaluate import evaluate
from bleep.workflows.fit import fit
from bleep.workflows.query import build_reference
from bleep.workflows.tissue import load_split
from bleep.workflows.unseen import check_reference

ARCHIVE = Path(__file__).parents[1] / "data" / "archives" / "reference-v0.1"


@pytest.fixture(scope="module")
def run(trained: dict[str, Path]) -> Run:
    return Run.load(trained["contrastive"])


@pytest.fixture(scope="module")
def reference(trained: dict[str, Path]) -> Reference:
    return Reference.load(trained["contrastive"] / "reference")


@pytest.fixture(scope="module")
def fresh() -> tuple[Section, ...]:
    """Two sections of a new donor, and one of the donor trained on."""
    donors = (("new1", "donor3"), ("new2", "donor3"), ("new3", "donor1"))
    return tuple(toy_section(name, donor, 60 + at, side=256, pitch=32) for at, (name, donor) in enumerate(donors))


@pytest.fixture(scope="module")
def grown(run: Run, reference: Reference, fresh: tuple[Section, ...]) -> Reference:
    return reference.add(run, fresh[:2])


@pytest.fixture
def kept(trained: dict[str, Path], tmp_path: Path) -> Path:
    shutil.copytree(trained["contrastive"] / "reference", tmp_path / "reference")
    return tmp_path / "reference"


def same(one: Reference, other: Reference) -> None:
    assert list(one.spots.index) == list(other.spots.index)
    rows = np.arange(len(one))
    np.testing.assert_array_equal(one.expression.rows(rows), other.expression.rows(rows))
    np.testing.assert_array_equal(one.vectors, other.vectors)
    queries = np.asarray(one.queries)
    found, again = one.index.search(queries, 7), other.index.search(queries, 7)
    np.testing.assert_array_equal(found.rows, again.rows)
    told, said = ({key: each.manifest["measured"][key] for key in ("recall", "k", "queries")} for each in (one, other))
    assert told == said
    assert {k: v for k, v in one.manifest.items() if k != "measured"} == {
        k: v for k, v in other.manifest.items() if k != "measured"
    }


def test_added_spots_follow_the_old_and_are_what_the_run_says_of_them(
    run: Run, reference: Reference, grown: Reference, fresh: tuple[Section, ...]
) -> None:
    assert list(grown.spots.index) == [*reference.spots.index, *fresh[0].ids, *fresh[1].ids]
    last = np.arange(len(grown) - len(fresh[1]), len(grown))
    np.testing.assert_array_equal(grown.expression.rows(last), run.panel.values(fresh[1]))
    near = grown.index.search(np.ascontiguousarray(grown.vectors[last[:5]]), 1)
    np.testing.assert_array_equal(near.rows[:, 0], last[:5])
    entry = grown.manifest["sections"][-1]
    assert (entry["name"], entry["patient"], entry["origin"]) == ("new2", "donor3", "added")
    assert entry["digest"] == fresh[1].digest()
    assert grown.manifest["spots"] == len(grown)
    assert len(reference) == len(reference.spots) < len(grown)


def test_sections_added_one_by_one_are_sections_added_together(
    run: Run, reference: Reference, grown: Reference, fresh: tuple[Section, ...]
) -> None:
    same(reference.add(run, fresh[:1]).add(run, fresh[1:2]), grown)


def test_removing_what_was_added_gives_back_what_was(reference: Reference, grown: Reference) -> None:
    same(grown.remove(patient="donor3"), reference)
    same(grown.remove(section="new2").remove(section="new1"), reference)


def test_a_section_of_a_patient_is_removed_alone(run: Run, reference: Reference, fresh: tuple[Section, ...]) -> None:
    more = reference.add(run, fresh[2:])
    left = more.remove(section="toy2")
    assert set(left.spots["section"]) == {"toy1", "new3"}
    assert [entry["name"] for entry in left.manifest["sections"]] == ["toy1", "new3"]
    rows = more.spots.index.get_indexer(left.spots.index)
    np.testing.assert_array_equal(left.expression.rows(np.arange(len(left))), more.expression.rows(rows))


def test_merged_references_hold_what_both_hold_once(
    run: Run, reference: Reference, grown: Reference, fresh: tuple[Section, ...]
) -> None:
    one, other = reference.add(run, fresh[:1]), reference.add(run, fresh[1:2])
    same(one.merge(other), grown)
    assert one.merge(one) is one
    # What some sections say of their spots, such as an organ or a label, is an empty text for the others.
    counts = fresh[1].counts.copy()
    counts.obs["organ"] = "liver"
    told = reference.add(run, [replace(fresh[1], counts=counts)])
    for both in (told, reference.merge(told), told.remove(patient="donor3").merge(other)):
        assert set(both.spots["organ"][both.spots["section"] != "new2"]) == {""}
    assert set(told.spots["organ"][told.spots["section"] == "new2"]) == {"liver"}


def test_a_grown_reference_is_saved_and_loaded(grown: Reference, kept: Path, reference: Reference) -> None:
    grown.save(kept)
    same(Reference.load(kept), grown)
    change(kept, lambda before: before.remove(patient="donor3"))
    same(Reference.load(kept), reference)
    verify(kept)
    assert len([path for path in kept.iterdir() if path.name.startswith("index")]) == 1


@pytest.mark.parametrize("form", ["dense", "half", "sparse"])
@pytest.mark.parametrize("kind", ["flat", "ivf", "hnsw"])
def test_every_kind_and_form_grows(kind: str, form: str, run: Run, fresh: tuple[Section, ...], tmp_path: Path) -> None:
    config = Config.load(run.config.dump(), {"index": {"kind": kind, "expression": form}})
    made = build(replace(run, config=config), load_split(run.config).train)
    assert (made.manifest["kind"], made.manifest["expression"]["form"]) == (kind, form)
    made.save(tmp_path / "one")
    change(tmp_path / "one", lambda before: before.add(run, fresh[:2]).remove(section="toy1"))
    verified, measured = verify(tmp_path / "one")
    assert (verified.index.kind, verified.expression.form) == (kind, form)
    assert measured["recall"] >= 0.9
    expected = run.panel.values(fresh[1])
    last = np.arange(len(verified) - len(expected), len(verified))
    np.testing.assert_allclose(verified.expression.rows(last), expected, rtol=1e-3 if form == "half" else 0)


def test_what_is_there_already_is_refused_under_any_name(
    run: Run, reference: Reference, grown: Reference, fresh: tuple[Section, ...]
) -> None:
    with pytest.raises(MismatchError, match="new1: is in the index already, as new1: new1/"):
        grown.add(run, fresh[:1])
    with pytest.raises(MismatchError, match="renamed: is in the index already, as new1"):
        grown.add(run, [replace(fresh[0], name="renamed")])
    with pytest.raises(MismatchError, match="renamed: is in the index already, as new1"):
        reference.add(run, [fresh[0], replace(fresh[0], name="renamed")])
    # Whatever order its genes stand in, and with or without some of its spots.
    genes = np.random.default_rng(0).permutation(fresh[0].counts.n_vars)
    turned = replace(fresh[0], name="turned", counts=fresh[0].counts[:, genes].copy())
    assert turned.digest() != fresh[0].digest()
    with pytest.raises(MismatchError, match=r"turned: 30 of its 30 spots lie .* of section new1.*remove --section new1"):
        grown.add(run, [turned.subset(np.arange(30))])
    with pytest.raises(MismatchError, match=r"turned: .* at the places of spots of section new1"):
        grown.merge(reference.add(run, [turned]))
    halves = [fresh[0].subset(np.arange(30)), replace(fresh[0].subset(np.arange(30, len(fresh[0]))), name="rest")]
    assert len(reference.add(run, halves)) == len(reference) + len(fresh[0])
    moved = replace(fresh[0], xy=fresh[0].xy + 0.25)
    with pytest.raises(MismatchError, match=r"ids that are in the index already: new1/.* and \d+ more"):
        grown.add(run, [moved])
    with pytest.raises(MismatchError, match="ids that are in the index already"):
        grown.merge(reference.add(run, [moved]))
    counts = fresh[2].counts.copy()
    counts.obs_names = [f"other{at}" for at in range(len(counts))]
    other = replace(fresh[2], name="new1", counts=counts)
    with pytest.raises(MismatchError, match="already holds other spots of a section new1"):
        grown.add(run, [other])


def test_cells_at_whole_pixels_of_a_small_picture_may_meet(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    tables = {}
    for name in "abcd":
        y, x = np.divmod(rng.choice(10_000, 300, replace=False), 100)
        tables[name] = pd.DataFrame({"section": name, "x": x, "y": y})
    entries = [{"name": name, "picture": "p"} for name in tables]
    # Each section is looked up once, not once a pair: an array has dozens of cores on one picture.
    monkeypatch.setattr(pd.MultiIndex, "from_frame", looked := Mock(wraps=pd.MultiIndex.from_frame))
    check_places(pd.concat(tables.values()), entries, entries[1:])
    assert looked.call_count == len(tables)
    entries = entries[:2]
    same = tables["a"].assign(section="b")
    with pytest.raises(MismatchError, match="b: 300 of its 300 spots"):
        check_places(pd.concat([tables["a"], same]), entries, entries[1:])


def test_held_out_sections_are_refused_unless_allowed(run: Run, reference: Reference) -> None:
    divided = load_split(run.config)
    with pytest.raises(MismatchError, match=r"toy3: is held out by the run.*--allow-held-out"):
        reference.add(run, divided.test[:1])
    renamed = replace(divided.test[0], name="innocent")
    with pytest.raises(MismatchError, match="innocent: is held out"):
        reference.add(run, [renamed], held_out={renamed.slide.digest()})
    allowed = reference.add(run, divided.test[:1], allow_held_out=True)
    assert allowed.manifest["sections"][-1]["origin"] == "held out"
    with pytest.raises(MismatchError, match="holds section toy3, which is tissue held out"):
        check_reference(allowed, divided.test, Path("run"))
    hidden = reference.add(run, [renamed])
    with pytest.raises(MismatchError, match="bleep index remove --section innocent"):
        check_reference(hidden, divided.test, Path("run"))
    check_reference(reference, divided.test, Path("run"))


def test_test_tissue_under_other_names_and_on_another_picture_is_found_by_its_counts(
    run_copy: Callable[..., Path], run: Run, reference: Reference
) -> None:
    divided, folder = load_split(run.config), run_copy()
    test = divided.test[0]
    rows = np.random.default_rng(0).permutation(len(test))[: len(test) // 2]
    counts = test.counts[rows].copy()
    counts.obs_names = [f"other{row}" for row in rows]
    pixels = test.slide.region(0, 0, max(test.slide.size), "white")[: test.slide.size[1], : test.slide.size[0]]
    slide = ArraySlide(np.clip(pixels.astype(int) + 3, 0, 255).astype(np.uint8))
    other = replace(test, name="innocent", patient="D", slide=slide, counts=counts, xy=test.xy[rows])
    assert {other.digest(), slide.digest()}.isdisjoint({test.digest(), test.slide.digest()})
    with pytest.raises(MismatchError, match="innocent: is held out"):
        indexing.add_sections(run, folder, [other])
    hidden = reference.add(run, [other])
    with pytest.raises(MismatchError, match=r"section innocent, which has the values of .* spots of toy3, held out"):
        check_reference(hidden, divided.test, folder, run)
    changed = np.asarray(counts.X.todense()) + np.random.default_rng(1).poisson(1, counts.shape)
    own = replace(other, counts=AnnData(sparse.csr_matrix(changed.astype(np.float32)), counts.obs, counts.var))
    check_reference(reference.add(run, [own]), divided.test, folder, run)


def test_a_reference_with_test_tissue_is_not_evaluated(run_copy: Callable[..., Path], run: Run) -> None:
    folder = run_copy()
    indexing.add_sections(run, folder, load_split(run.config).test[:1], allow_held_out=True)
    with pytest.raises(MismatchError, match="tissue held out to be tested on"):
        evaluate([folder])
    indexing.remove_spots(folder, section="toy3")
    evaluate([folder])


def test_a_renamed_test_picture_is_known_by_its_hash(run_copy: Callable[..., Path], run: Run) -> None:
    section = replace(load_split(run.config).test[0], name="innocent")
    with pytest.raises(MismatchError, match="innocent: is held out"):
        indexing.add_sections(run, run_copy(), [section])


def test_only_measured_tissue_of_the_panel_is_added(run: Run, reference: Reference, fresh: tuple[Section, ...]) -> None:
    counts = fresh[0].counts[:, 1:].copy()
    counts.var_names = [f"OTHER{at}" for at in range(counts.n_vars)]
    with pytest.raises(MismatchError, match="lacks 12 of the panel's 12 genes"):
        reference.add(run, [replace(fresh[0], counts=counts)])
    human = replace(run, panel=replace(run.panel, species="mouse"))
    with pytest.raises(MismatchError):
        reference.add(human, [replace(fresh[0], species="human")])


def test_references_of_two_runs_are_not_merged(reference: Reference) -> None:
    other = replace(reference, manifest={**reference.manifest, "weights": "0" * 64})
    with pytest.raises(MismatchError, match="only indexes of one run can be merged"):
        reference.merge(other)


def test_what_is_not_there_or_is_all_cannot_be_removed(reference: Reference) -> None:
    with pytest.raises(DataError, match="no spots of section 'toy9'; it holds toy1, toy2"):
        reference.remove(section="toy9")
    with pytest.raises(DataError, match="spots of patient 'donor1' alone"):
        reference.remove(patient="donor1")


def test_a_batch_corrected_run_takes_no_new_sections(recipe: Any, fresh: tuple[Section, ...], tmp_path: Path) -> None:
    made = fit(Config.load(recipe(tmp_path / "run", {"panel": {"batch": "center"}, "optim": {"epochs": 1}})))
    reference, (trained, _) = build_reference(made), load_split(made.config).train
    with pytest.raises(MismatchError, match="no batch correction"):
        reference.add(made, fresh[:1])
    # Once a training section is gone, other tissue whose spots are called alike does not get what was added to that one.
    less = reference.remove(section=trained.name)
    counts = AnnData(sparse.csr_matrix(trained.counts.X)[::-1], trained.counts.obs, trained.counts.var)
    with pytest.raises(MismatchError, match=r"section toy1: .* no batch correction"):
        less.add(made, [replace(trained, counts=counts)])
    assert len(less.add(made, [trained])) == len(reference)


@pytest.fixture
def archive(run: Run, tmp_path: Path) -> Path:
    """A reference as version 0.1 wrote it, of tissue like that of the run, and signed over to it."""
    folder = tmp_path / "archive"
    shutil.copytree(ARCHIVE, folder)
    write_json(folder / "manifest.json", {**read_json(folder / "manifest.json", "it"), **identity(run)})
    return folder


def test_a_reference_of_version_0_1_still_answers_and_grows(archive: Path, run: Run, fresh: tuple[Section, ...]) -> None:
    import anndata

    old, kept = Reference.load(archive), anndata.read_h5ad(ARCHIVE / "spots.h5ad")
    old.check(run)
    np.testing.assert_array_equal(old.expression.rows(np.arange(len(old))), kept.X)
    assert list(old.spots.index) == list(kept.obs_names)
    assert [(one["name"], one["patient"], one["spots"]) for one in old.manifest["sections"]] == [
        ("toy1", "donor1", 53),
        ("toy2", "donor1", 58),
    ]
    np.testing.assert_array_equal(old.index.search(np.ascontiguousarray(old.vectors), 1).rows[:, 0], np.arange(len(old)))
    verify(archive)
    after = change(archive, lambda before: before.add(run, fresh[:1]))
    assert list(after.spots.index) == [*kept.obs_names, *fresh[0].ids]
    verify(archive)
    assert not (archive / "spots.h5ad").exists()
    same(after.remove(section="new1"), old)


def test_files_that_are_not_of_an_index_are_left_alone_or_it_goes_elsewhere(reference: Reference, tmp_path: Path) -> None:
    mine = tmp_path / "results"
    mine.mkdir()
    for name in ("spots.csv", "expression.h5ad", "index.html", "vectors.txt", "expression-1.csv"):
        (mine / name).write_text("mine")
    for _ in range(2):
        reference.save(mine)
    assert {path.name for path in mine.iterdir() if path.read_bytes() == b"mine"} == {
        "spots.csv", "expression.h5ad", "index.html", "vectors.txt", "expression-1.csv",
    }  # fmt: skip
    other = tmp_path / "other"
    other.mkdir()
    (other / "vectors.npy").write_text("mine")
    with pytest.raises(DataError, match=r"holds vectors\.npy, which is of no index here"):
        reference.save(other)
    assert [path.name for path in other.iterdir()] == ["vectors.npy"]


def test_where_it_searches_is_kept_with_it(kept: Path, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = run.config.model_copy(update={"index": run.config.index.model_copy(update={"gpu": "none", "gpus": "shards"})})
    build(replace(run, config=config), load_split(config).train).save(tmp_path / "one")
    asked: list[dict[str, str]] = []
    load = record.load_index
    monkeypatch.setattr(record, "load_index", lambda path, **places: asked.append(places) or load(path, **places))
    Reference.load(tmp_path / "one")
    Reference.load(kept)
    places = [{"gpu": one["gpu"], "gpus": one["gpus"]} for one in asked]
    assert places == [{"gpu": "none", "gpus": "shards"}, {"gpu": "auto", "gpus": "replicas"}]
    assert {one["kind"] for one in asked} == {"flat"}


def test_a_later_format_is_refused(kept: Path) -> None:
    tree = read_json(kept / "manifest.json", "it")
    write_json(kept / "manifest.json", {**tree, "format": 3})
    with pytest.raises(DataError, match=r"format 3.*update bleep"):
        Reference.load(kept)


@pytest.mark.slow
def test_killed_writers_leave_what_was_or_what_was_to_be(kept: Path, warm: Path, tmp_path: Path) -> None:
    """Writers of a process that is killed before and after each of their steps, and at moments of chance."""
    script = Path(__file__).with_name("killed_writers.py")
    done = subprocess.run(
        [warm / "python", script, kept, tmp_path / "work"],
        env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    counts = json.loads(done.stdout.splitlines()[-1])
    assert counts["steps"] >= 8
    assert counts["old"] >= 8
    assert counts["new"] >= 2
    assert counts["by chance"] == 10


def _flip(path: Path) -> None:
    raw = bytearray(path.read_bytes())
    raw[-3] ^= 1
    path.write_bytes(bytes(raw))


EDITED: dict[str, tuple[str, Callable[[Path], object], str]] = {
    "index flipped": ("index.faiss", _flip, "index.faiss has another sha256"),
    "vectors flipped": ("vectors.npy", _flip, "vectors.npy has another sha256"),
    "expression flipped": ("expression.npy", _flip, "expression.npy has another sha256"),
    "expression cut": ("expression.npy", lambda path: path.write_bytes(path.read_bytes()[:-8]), "expression.npy holds"),
    "queries gone": ("queries.npy", Path.unlink, "queries.npy is not there"),
    "spots flipped": ("spots.parquet", _flip, "spots.parquet has another sha256"),
    "manifest edited": (
        "manifest.json",
        lambda path: path.write_text(path.read_text().replace('"spots": 111', '"spots": 112')),
        "is damaged or was edited",
    ),
}


@pytest.mark.parametrize("kind", EDITED)
def test_verify_finds_what_was_changed(kind: str, kept: Path) -> None:
    name, edit, words = EDITED[kind]
    verify(kept)
    edit(kept / name)
    with pytest.raises(DataError, match=words):
        verify(kept)


def test_verify_finds_values_that_are_no_numbers(reference: Reference, tmp_path: Path) -> None:
    from bleep.retrieval.reference.expression_store import DenseExpression

    values = reference.expression.rows(np.arange(len(reference))).copy()
    values[17, 3] = np.nan
    replace(reference, expression=DenseExpression(values)).save(tmp_path / "one")
    with pytest.raises(DataError, match="not finite, among rows 0 to 110"):
        verify(tmp_path / "one")


def test_verify_finds_an_index_of_other_vectors(reference: Reference, tmp_path: Path) -> None:
    replace(reference, vectors=np.ascontiguousarray(reference.vectors[::-1])).save(tmp_path / "one")
    with pytest.raises(DataError, match="of the true neighbours"):
        verify(tmp_path / "one")


def test_a_second_writer_is_turned_away_and_readers_are_not(kept: Path, reference: Reference) -> None:
    with storage.locked(kept):
        with pytest.raises(DataError, match="another process is changing this index"):
            reference.save(kept)
        with pytest.raises(DataError, match="another process is changing this index"):
            change(kept, lambda before: before.remove(section="toy1"))
        same(Reference.load(kept), reference)
    change(kept, lambda before: before.remove(section="toy1"))


def test_a_change_that_fails_leaves_everything_as_it_was(
    kept: Path, reference: Reference, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {path.name: path.read_bytes() for path in kept.iterdir()}

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("bleep.retrieval.reference.reference.write_expression", full)
    with pytest.raises(DataError, match="No space left on device"):
        change(kept, lambda old: old.remove(section="toy1"))
    with pytest.raises(DataError, match="No space left on device"):
        reference.save(kept.parent / "new")
    assert {path.name: path.read_bytes() for path in kept.iterdir()} == before
    assert not (kept.parent / "new").exists()


def test_a_damaged_manifest_does_not_keep_a_new_build_out(kept: Path, reference: Reference) -> None:
    (kept / "manifest.json").write_text("{")
    reference.save(kept)
    same(Reference.load(kept), reference)
    verify(kept)


def test_a_reader_that_meets_a_writer_reads_again(kept: Path, reference: Reference, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, calls = storage.read_manifest, []

    def late(folder: Path) -> dict[str, Any]:
        tree = whole(folder)
        if not calls:
            calls.append(1)
            reference.remove(section="toy2").save(folder)
        return tree

    monkeypatch.setattr(storage, "read_manifest", late)
    assert set(Reference.load(kept).spots["section"]) == {"toy1"}
