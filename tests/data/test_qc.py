"""Each fault is found in tissue that has it, and none in tissue that has none."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from scipy import ndimage
from scipy.sparse import csr_matrix

from bleep.config import Config
from bleep.data.gene_names import names_of
from bleep.data.qc import Check, Finding, across, alone, as_text, measure
from bleep.data.section import Section
from bleep.data.slides import ArraySlide, MosaicSlide, save_png
from bleep.data.stain import VECTORS, glass, optical_density, stains
from bleep.data.tiles import TileSpec
from bleep.data.toy import toy_section

MOUSE = [f"Gene{letter.lower()}{number}" for number in range(6) for letter in "ABCDEFGHIJ"]
HUMAN = [gene.upper() for gene in MOUSE]
IDS = [f"ENSG{number:011d}" for number in range(60)]


@pytest.fixture(scope="module")
def clean() -> tuple[Section, ...]:
    """Three sections of three donors, of more than sixty spots each."""
    return tuple(toy_section(f"toy{i}", f"donor{i}", 60 + i, side=256, pitch=26) for i in range(1, 4))


def config(**over: Any) -> Config:
    tree: dict[str, Any] = {"data": {"source": "toy"}, "tiles": {"pixels": 64, "microns": [64.0]}}
    for section, fields in over.items():
        tree[section] = {**tree.get(section, {}), **fields}
    return Config.load(tree)


def found(sections: Sequence[Section], settings: Config | None = None) -> list[Finding]:
    settings = settings or config()
    measured = [measure(section, TileSpec.of(settings.tiles)) for section in sections]
    return [*(finding for one in measured for finding in alone(one, settings)), *across(sections, measured)]


def kinds(sections: Sequence[Section], settings: Config | None = None) -> set[tuple[str, str]]:
    return {(finding.severity, finding.kind) for finding in found(sections, settings)}


def painted(section: Section, change: Callable[[np.ndarray], np.ndarray]) -> Section:
    assert isinstance(section.slide, ArraySlide)
    pixels = np.clip(change(section.slide.pixels.astype(np.float64)), 0, 255).astype(np.uint8)
    return replace(section, slide=ArraySlide(np.ascontiguousarray(pixels)))


def valued(section: Section, change: Callable[[np.ndarray], np.ndarray]) -> Section:
    counts = section.counts.copy()
    counts.X = csr_matrix(change(csr_matrix(counts.X).toarray()).astype(np.float32))
    return replace(section, counts=counts)


def called(section: Section, genes: Sequence[str]) -> Section:
    counts = section.counts[:, : len(genes)].copy()
    counts.var_names = list(genes)
    return replace(section, counts=counts)


def log1p(values: np.ndarray) -> np.ndarray:
    return np.log1p(1e4 * values / values.sum(axis=1, keepdims=True))


def placed(values: np.ndarray) -> np.ndarray:
    """Put what may be an x in place of the first gene."""
    return np.concatenate([300 * (9 + np.arange(len(values)))[:, None], values[:, 1:]], axis=1)


def beside(section: Section) -> Section:
    """Put the tissue to the left of as much glass."""
    return painted(section, lambda p: np.concatenate([p, np.full_like(p, 245)], axis=1))


def test_clean_tissue_has_no_findings(clean: tuple[Section, ...]) -> None:
    assert found(clean) == []


FAULTS: dict[str, tuple[str, Callable[[Section], Section], dict[str, Any], str]] = {
    "few-spots": ("warning", lambda s: s.subset(np.arange(12)), {}, "12 spots are few"),
    "scale": ("error", lambda s: replace(s, mpp=0.01), {"tiles": {"microns": [0.6]}}, "0.01 microns per pixel are implausible"),
    "tile-too-large": ("error", lambda s: s, {"tiles": {"microns": [64.0, 300.0]}}, "is 300 pixels wide, but the slide"),
    "enlarged-tiles": ("warning", lambda s: s, {"tiles": {"pixels": 256}}, "only 64 pixels wide and is enlarged 4.0 times"),
    "padded-tiles": ("warning", lambda s: s, {"tiles": {"pixels": 128, "microns": [250.0]}}, "lies beyond the slide"),
    "blank-tiles": ("error", lambda s: painted(s, lambda p: np.full_like(p, 245)), {}, "100% of 60 tiles show bare glass"),
    "blurred-tiles": (
        "warning", lambda s: painted(s, lambda p: ndimage.gaussian_filter(p, (3, 3, 0))), {}, "83% of the tiles are out",
    ),
    "zero-spots": (
        "warning", lambda s: valued(s, lambda v: v * (np.arange(len(v)) > 5)[:, None]), {}, "6 of 60 spots have no counts",
    ),
    "one-gene": ("warning", lambda s: valued(s, placed), {}, "TOY01 alone holds more than half"),
    "normalised-twice": ("error", lambda s: valued(s, log1p), {}, "set panel.normalise to none"),
    "not-counts": ("warning", lambda s: valued(s, lambda v: v * 1.37), {}, "are not whole numbers"),
    "not-normalised": ("warning", lambda s: s, {"panel": {"normalise": "none"}}, "set panel.normalise to log1p"),
    "nothing-measured": ("warning", lambda s: replace(s, counts=s.counts[:, :0].copy()), {}, "it can be queried"),
    "species": ("error", lambda s: called(replace(s, species="human"), MOUSE), {}, "like those of a mouse or rat (symbols"),
    "repeated-spots": (
        "warning", lambda s: valued(s, lambda v: np.concatenate([v[:50], v[: len(v) - 50]])), {}, "10 of 60 spots have exactly",
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", FAULTS)
def test_a_fault_of_one_section_is_found_alone(kind: str, clean: tuple[Section, ...]) -> None:
    severity, damage, settings, words = FAULTS[kind]
    section = damage(clean[0].subset(np.arange(60)))
    findings = found([section], config(**settings))
    assert [(finding.severity, finding.kind) for finding in findings] == [(severity, kind)]
    assert words in findings[0].message
    assert findings[0].sections == ("toy1",)


def test_values_of_the_right_kind_are_no_fault(clean: tuple[Section, ...]) -> None:
    for change in (log1p, lambda v: v * 1.37):
        assert found([valued(clean[0], change)], config(panel={"normalise": "none"})) == []


def test_scaled_values_are_told_from_logarithms(clean: tuple[Section, ...]) -> None:
    shares = valued(clean[0], lambda v: v / v.sum(axis=1, keepdims=True))
    assert measure(shares, TileSpec(64, (64.0,))).counts.values == "scaled"
    assert kinds([shares]) == {("warning", "not-counts")}


def test_many_spots_without_counts_are_an_error(clean: tuple[Section, ...]) -> None:
    assert kinds([valued(clean[0], lambda v: v * (np.arange(len(v)) > 40)[:, None])]) == {("error", "zero-spots")}


def test_spots_that_lost_their_counts_in_the_join_are_said(clean: tuple[Section, ...]) -> None:
    counts = clean[0].counts.copy()
    counts.uns["bleep"] = {"dropped": {"counts": 900, "positions": 20}}
    section = replace(clean[0], counts=counts)
    assert kinds([section]) == {("warning", "dropped-spots")}
    # Tables of old arrays hold spots beside the tissue, too.
    counts.uns["bleep"]["dropped"]["positions"] = 2
    assert found([section]) == []


@pytest.mark.parametrize(("mpp", "expected"), [(100 / 26, set()), (5.0, {"warning"}), (7.0, {"error"})])
def test_a_scale_against_the_pitch_of_the_array(mpp: float, expected: set[str], clean: tuple[Section, ...]) -> None:
    settings = config(data={"source": "visium"}, tiles={"pixels": 32, "microns": [120.0]})
    findings = found([replace(clean[0], mpp=mpp)], settings)
    assert {finding.severity for finding in findings if finding.kind == "scale"} == expected
    assert all("set data.mpp to about 3.85" in finding.message for finding in findings)


@pytest.mark.parametrize(
    ("words", "damage"),
    [
        ("x and y swapped", lambda xy: xy[:, ::-1]),
        ("mirrored left to right", lambda xy: [511, 0] + [-1, 1] * xy),
        ("mirrored top to bottom", lambda xy: [0, 511] + [1, -1] * xy),
        ("turned by 180 degrees", lambda xy: 511 - xy),
    ],
)
def test_spots_put_beside_the_tissue(
    words: str, damage: Callable[[np.ndarray], np.ndarray], clean: tuple[Section, ...]
) -> None:
    top = 256 if words == "x and y swapped" else 0

    def canvas(pixels: np.ndarray) -> np.ndarray:
        wide = np.full((512, 512, 3), 245.0)
        wide[top : top + 256, :256] = pixels
        return wide

    right = replace(painted(clean[0], canvas), xy=clean[0].xy + np.array([0, top]))
    assert found([right]) == []
    wrong = replace(right, xy=np.ascontiguousarray(damage(right.xy), dtype=np.float64))
    findings = found([wrong])
    assert [(finding.severity, finding.kind) for finding in findings] == [("error", "misplaced-spots")]
    assert words in findings[0].message


def test_a_symmetric_picture_does_not_accuse_the_places(clean: tuple[Section, ...]) -> None:
    assert kinds([painted(clean[0], lambda p: np.full_like(p, 245))]) == {("error", "blank-tiles")}


SAME: dict[str, Callable[[Section], Section]] = {
    "another name": lambda s: s,
    "a picture saved again": lambda s: painted(s, lambda p: p + np.random.default_rng(0).normal(0, 2, p.shape)),
    "another order": lambda s: s.subset(np.random.default_rng(0).permutation(len(s))),
    "half of the spots": lambda s: s.subset(np.arange(0, len(s), 2)),
    "other barcodes": lambda s: replace(s, counts=AnnData(s.counts.X, s.counts.obs.rename(index="b{}".format), s.counts.var)),
    "genes in another order": lambda s: replace(s, counts=s.counts[:, ::-1].copy()),
    "fewer genes": lambda s: replace(s, counts=s.counts[:, 10:].copy()),
    "other values at the same places": lambda s: valued(s, lambda v: v + 1),
}  # fmt: skip


@pytest.mark.parametrize("kind", SAME)
def test_tissue_that_stands_twice_is_found(kind: str, clean: tuple[Section, ...]) -> None:
    copy = replace(SAME[kind](clean[0]), name="copy", patient="donor9")
    findings = found([*clean, copy])
    assert [(f.severity, f.kind, f.sections) for f in findings] == [("error", "same-tissue", ("toy1", "copy"))]


def test_two_sections_of_one_picture_are_one_patient(clean: tuple[Section, ...]) -> None:
    wide = painted(clean[0], lambda p: np.concatenate([p, clean[1].slide.pixels], axis=1))  # type: ignore[attr-defined]
    other = replace(clean[1], slide=wide.slide, xy=clean[1].xy + np.array([256, 0]))
    assert kinds([wide, other]) == {("warning", "same-picture")}
    assert found([wide, replace(other, patient="donor1")]) == []


def mosaic(section: Section, folder: Path, rows: range) -> Section:
    """Cut some tiles into files, with counts that stand in no other section."""
    from bleep.data.tiles import cut

    folder.mkdir()
    paths = []
    for row in rows:
        tile = cut(section, row, TileSpec(64, (64.0,)))[0]
        paths.append(folder / f"{row}.png")
        save_png(np.ascontiguousarray(tile.transpose(1, 2, 0)), paths[-1])
    slide = MosaicSlide.open(tuple(paths))
    part = section.subset(np.array(rows))
    noise = np.random.default_rng(rows.start).integers(0, 9, part.counts.shape)
    return replace(valued(part, lambda v: v + noise), name=folder.name, slide=slide, xy=slide.centres())


def test_tiles_that_stand_in_two_sections_are_found(clean: tuple[Section, ...], tmp_path: Path) -> None:
    one, other = mosaic(clean[0], tmp_path / "one", range(40)), mosaic(clean[0], tmp_path / "other", range(20, 60))
    findings = found([one, other])
    assert [(f.kind, f.sections) for f in findings] == [("same-tissue", ("one", "other"))]
    assert "20 of their tiles" in findings[0].message
    assert found([one, mosaic(clean[1], tmp_path / "third", range(40))]) == []


def test_a_window_larger_than_ready_cut_tiles_is_found(clean: tuple[Section, ...], tmp_path: Path) -> None:
    settings = config(tiles={"microns": [80.0]})
    assert kinds([mosaic(clean[0], tmp_path / "one", range(40))], settings) == {("error", "tile-too-large")}


BETWEEN: dict[str, tuple[str, Callable[[Section], Section], str]] = {
    "depth": ("warning", lambda s: valued(s, lambda v: np.ceil(v / 12)), "times the counts of one of toy3"),
    "stain": ("warning", lambda s: painted(s, lambda p: 255 * (p / 255) ** 2.6), "the stains differ by"),
    "scales": ("warning", lambda s: replace(s, mpp=2.5), "one shows detail the other lacks"),
    "mixed-values": ("error", lambda s: valued(s, lambda v: v * 0.73 + 0.01), "counts in toy1, toy2; fractions in toy3"),
    "species": ("error", lambda s: replace(s, species="newt"), "several species"),
    "few-shared-genes": ("error", lambda s: called(s, [f"OTHER{i}" for i in range(60)]), "only 0% of the genes are shared"),
}


@pytest.mark.parametrize("kind", BETWEEN)
def test_a_fault_between_sections_is_found_alone(kind: str, clean: tuple[Section, ...]) -> None:
    severity, damage, words = BETWEEN[kind]
    settings = config(panel={"normalise": "none"}) if kind == "mixed-values" else config(tiles={"pixels": 32})
    findings = [f for f in found([*clean[:2], damage(clean[2])], settings) if f.kind != "not-normalised"]
    assert [(finding.severity, finding.kind) for finding in findings] == [(severity, kind)]
    assert words in findings[0].message
    assert "toy3" in findings[0].sections


def test_genes_shared_in_part_are_worth_a_word(clean: tuple[Section, ...]) -> None:
    partly = called(clean[2], [*clean[2].genes[:20], *(f"OTHER{i}" for i in range(40))])
    findings = found([*clean[:2], partly])
    assert [(f.severity, f.kind, f.sections) for f in findings] == [("warning", "few-shared-genes", ("toy3",))]


def test_genes_that_differ_in_case_alone_are_said_so(clean: tuple[Section, ...]) -> None:
    findings = found([clean[0], called(clean[1], [gene.lower() for gene in clean[1].genes])])
    assert [finding.kind for finding in findings] == ["few-shared-genes"]
    assert "upper or lower case" in findings[0].message


def test_ids_beside_symbols_are_found_unless_the_files_join_them(clean: tuple[Section, ...]) -> None:
    human = [replace(section, species="human") for section in clean]
    one, other = called(human[0], HUMAN), called(human[1], IDS)
    findings = found([one, other])
    assert [(f.severity, f.kind) for f in findings] == [("error", "gene-names")]
    assert "symbols in toy1; Ensembl ids in toy2" in findings[0].message
    joined = other.counts.copy()
    joined.var["symbol"] = HUMAN
    assert found([one, replace(other, counts=joined)]) == []


def test_genes_of_a_mouse_beside_human_ones_are_found(clean: tuple[Section, ...]) -> None:
    findings = found([called(replace(clean[0], species="unknown"), HUMAN), called(replace(clean[1], species="unknown"), MOUSE)])
    assert [(f.severity, f.kind) for f in findings] == [("error", "species")]
    mixed = called(replace(clean[0], species="human"), [*HUMAN[:30], *MOUSE[30:]])
    assert kinds([mixed]) == {("warning", "species")}


@pytest.mark.parametrize(
    ("genes", "species", "severity"),
    [
        (HUMAN, "human", set()),
        (MOUSE, "mouse", set()),
        (MOUSE, "unknown", set()),
        (MOUSE, "zebrafish", set()),
        (HUMAN, "mouse", {"warning"}),
        (IDS, "mouse", {"error"}),
        (IDS, "Homo sapiens", set()),
        ([gene.replace("ENSG", "ENSMUSG") + ".3" for gene in IDS], "mouse", set()),
        ([gene.replace("ENSG", "ENSMUSG") for gene in IDS], "human", {"error"}),
    ],
)
def test_gene_names_against_the_species(genes: list[str], species: str, severity: set[str], clean: tuple[Section, ...]) -> None:
    assert {level for level, _ in kinds([called(replace(clean[0], species=species), genes)])} == severity


def test_styles_of_names() -> None:
    assert names_of(pd.Index(HUMAN)).looks == "human"
    assert names_of(pd.Index(MOUSE)).looks == "rodent"
    assert names_of(pd.Index([*MOUSE, "4933401J01Rik", "mt-Co1", "AI597479"])).looks == "rodent"
    assert names_of(pd.Index(["ACTB", "Actb"])).looks == "unknown"
    ids = names_of(pd.Index([f"ENSMUSG{number:011d}.2" for number in range(5)]))
    assert (ids.ids, ids.looks, ids.example) == (True, "mouse", "ENSMUSG00000000000.2")
    assert names_of(pd.Index([])).describe() == "symbols such as "


def test_density_and_stains_are_those_the_picture_was_made_of() -> None:
    amounts = np.array([[0.5, 0.0], [0.2, 0.4]])
    unit = VECTORS / np.linalg.norm(VECTORS, axis=1, keepdims=True)
    pixels = np.round(256 * 10 ** -(amounts @ unit) - 1).astype(np.uint8).T.reshape(3, 1, 2)
    density = optical_density(pixels)
    np.testing.assert_allclose(density.reshape(3, 2).T, amounts @ unit, atol=0.006)
    np.testing.assert_allclose(stains(density.reshape(3, 2)).T, amounts, atol=0.02)


def test_glass_is_bright_and_grey() -> None:
    colours = {
        "white": (255, 255, 255),
        "glass": (219, 207, 224),
        "pale": (235, 190, 225),
        "grey": (120, 120, 120),
        "ink": (0, 0, 0),
    }
    tile = np.array(list(colours.values()), dtype=np.uint8).T.reshape(3, 1, -1)
    assert glass(tile).ravel().tolist() == [True, True, False, False, False]


def test_the_table_shows_every_section_and_finding(clean: tuple[Section, ...]) -> None:
    long = replace(clean[1], name="a name of more letters than a table has room for")
    sections = [clean[0], replace(long, counts=long.counts[:, :0].copy())]
    measured = [measure(section, TileSpec(64, (64.0,))) for section in sections]
    text = as_text(Check(tuple(measured), (Finding("warning", "few-spots", ("toy1",), "a sentence " * 30),)), 100)
    lines = text.splitlines()
    assert all(len(line) <= 100 for line in lines[4:])
    assert len({len(line) for line in lines[:4]}) == 1
    assert "a name of more lett…" in lines[3]
    assert lines[-1] == "0 errors, 1 warning: nothing that stops training; read each warning before you trust a result"


def test_measures_are_plain_values_even_where_nothing_could_be_seen(clean: tuple[Section, ...]) -> None:
    import json

    seen = measure(clean[0], TileSpec(64, (64.0,))).to_dict()
    unseen = measure(clean[0], TileSpec(64, (900.0,))).to_dict()
    json.dumps([seen, unseen], allow_nan=False)
    assert seen.keys() == unseen.keys()
    assert unseen["blank"] is None
    assert (seen["spots"], seen["genes"], seen["gene_ids"], seen["windows"]) == (len(clean[0]), 60, False, [64])
    assert seen["median"] == np.median(csr_matrix(clean[0].counts.X).toarray().sum(axis=1))


@pytest.mark.data
def test_real_tissue_is_on_its_spots_and_not_when_moved(shared: Path) -> None:
    settings = Config.load({"data": {"source": "st2k", "root": str(shared / "data" / "mob_st2k"), "species": "mouse"}})
    from bleep.data.readers import read_sections

    spec = TileSpec(224, (290.0,))
    for section in read_sections(settings.data):
        assert measure(section, spec).picture.better == ""  # type: ignore[union-attr]
        moved = replace(section, xy=np.ascontiguousarray(section.xy[:, ::-1]))
        assert measure(moved, spec).picture.better != ""  # type: ignore[union-attr]
