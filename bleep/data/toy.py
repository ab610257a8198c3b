"""Toy tissue: a drawn H&E picture whose expression is a known law of what is drawn around each spot."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from anndata import AnnData
from jaxtyping import Float32, Float64, UInt8
from scipy.ndimage import gaussian_filter, zoom
from scipy.sparse import csr_matrix
from scipy.spatial import cKDTree
from scipy.special import softmax

from bleep.config import DataConfig
from bleep.data.readers import chosen_names
from bleep.data.section import Section
from bleep.data.slides import ArraySlide, save_jpeg, save_png
from bleep.data.tiles import TileSpec, cut
from bleep.errors import DataError
from bleep.files import whole

WINDOW = 64
"""Side of the square around a spot that sets its expression, in pixels of 1 micron."""
MORPHOLOGY = ("tumour_nuclei", "immune_nuclei", "stroma_nuclei", "nuclear_area", "fibre", "glass")
"""What is measured in the window: three numbers of nuclei, their mean area in pixels, two fractions of the window."""
_CENTRE = np.array([5.0, 14.0, 3.6, 42.0, 0.19, 0.04])
_SCALE = np.array([5.0, 12.0, 4.4, 18.0, 0.22, 0.11])
_PULL = np.array([1.0, 1.0, 0.6, 1.0, 0.5, 0.3])
_LAW_SEED, _DISPERSION = 0, 14.0
# Nuclei of tumour, immune cells and stroma. The first two carry as much haematoxylin, few and hollow or many and small.
_DENSITY, _RADIUS, _LENGTH, _LOBES, _HEART, _RIM = np.array(
    [[0.011, 0.023, 0.0042], [5.0, 2.9, 3.1], [1.2, 1.05, 4.5], [0.1, 0.02, 0.0], [0.32, 1.0, 0.8], [1.28, 1.0, 0.8]]
).astype(np.float32)
_STAINS = np.array([[0.60, 0.72, 0.33], [0.09, 0.90, 0.38]])

Map = Float32[np.ndarray, "side side"]
Morphology = Float64[np.ndarray, "spots morphology"]


class _Tissue(NamedTuple):
    inside: np.ndarray
    parts: np.ndarray
    fibre: Map
    angle: Map


def toy_law(morphology: Morphology, genes: int = 60) -> Float64[np.ndarray, "spots genes"]:
    """Return the share of a spot's counts that each gene is expected to have; rows sum to 1.

    Log-linear in the morphology, standardised by constants. Each tenth gene has the same share everywhere.
    """
    rng = np.random.default_rng(_LAW_SEED)
    weights = rng.standard_normal((genes, len(MORPHOLOGY)))
    weights[np.arange(genes), rng.integers(0, len(MORPHOLOGY), genes)] += 2 * rng.choice([-1.0, 1.0], genes)
    weights *= _PULL * rng.uniform(0.25, 0.95, (genes, 1)) / np.linalg.norm(weights * _PULL, axis=1, keepdims=True)
    intercept = rng.normal(0, 0.6, genes)
    base, varied = softmax(intercept), np.arange(genes) % 10 != 9
    logits = np.where(varied, intercept + np.clip((morphology - _CENTRE) / _SCALE, -3, 3) @ weights.T, -np.inf)
    return np.asarray(np.where(varied, base[varied].sum() * softmax(logits, axis=1), base))


def toy_section(name: str, patient: str, seed: int, *, side: int = 1024, pitch: int = 64, genes: int = 60) -> Section:
    """Draw a section of `side` pixels of 1 micron, with spots on a square grid wherever their centre is in tissue.

    Spots are named "XxY" by their place in the grid. The counts carry `layers["rate"]`, what is expected of them;
    `obsm["morphology"]`, what the picture shows; `var["noise"]`, genes that depend on nothing; `uns["pitch"]`.

    Raises:
        DataError: the picture would be too small to hold tissue, or the grid has no place in it.

    """
    if side < 2 * WINDOW or not 1 <= pitch <= side // 2:
        raise DataError(f"section {name}: side {side}, pitch {pitch}; expected side >= {2 * WINDOW}, pitch <= side / 2")
    drawing, staining, counting = np.random.default_rng(seed).spawn(3)
    tissue = _tissue(drawing, side)
    nuclei = _nuclei(drawing, tissue)
    haematoxylin, area = _draw(nuclei, side)
    grid = np.stack(np.divmod(np.arange((side // pitch) ** 2), side // pitch)[::-1], axis=1)
    column, row = (grid.T * pitch + pitch / 2).astype(int)
    grid = grid[tissue.inside[row, column]]
    xy = (grid + 0.5) * pitch
    morphology = _measure(tissue, nuclei, area, xy)
    rate = 5000 * np.exp(counting.normal(0, 0.3, (len(xy), 1))) * toy_law(morphology, genes)
    spots = pd.Index([f"{x}x{y}" for x, y in grid])
    counts = AnnData(
        X=csr_matrix(counting.negative_binomial(_DISPERSION, _DISPERSION / (_DISPERSION + rate)).astype(np.float32)),
        obs=pd.DataFrame(index=spots),
        var=pd.DataFrame({"noise": np.arange(genes) % 10 == 9}, [f"TOY{gene + 1:02d}" for gene in range(genes)]),
        layers={"rate": rate.astype(np.float32)},
        obsm={"morphology": pd.DataFrame(morphology, index=spots, columns=list(MORPHOLOGY))},
        uns={"pitch": pitch},
    )
    return Section(name, patient, "toy", ArraySlide(_stain(staining, tissue, haematoxylin)), counts, xy, 1.0)


def toy_sections(count: int = 4, seed: int = 0, *, side: int = 1024) -> tuple[Section, ...]:
    """Draw sections "toy1", "toy2", ... of one law, each stained anew, two of each patient "donor1", "donor2", ..."""
    return tuple(toy_section(f"toy{i + 1}", f"donor{i // 2 + 1}", 1000 * seed + i, side=side) for i in range(count))


def noise_ceiling(section: Section) -> pd.Series:
    """Return each gene's Pearson r between what was measured and what the law expects, as log1p of counts per 10,000.

    On average no predictor beats it. It is 0 for a gene of which the law expects the same everywhere.

    Raises:
        DataError: the section is no toy tissue.

    """
    _check_toy(section)
    measured = _standard_logs(csr_matrix(section.counts.X).toarray())
    expected = _standard_logs(np.asarray(section.counts.layers["rate"]))
    return pd.Series((measured * expected).mean(axis=0), index=section.genes, name="ceiling")


def _standard_logs(counts: np.ndarray) -> Float64[np.ndarray, "spots genes"]:
    total = np.maximum(counts.sum(axis=1, keepdims=True, dtype=np.float64), 1)
    logs = np.log1p(1e4 * counts / total)
    spread = logs.std(axis=0)
    return np.asarray((logs - logs.mean(axis=0)) * (spread > 1e-5) / np.maximum(spread, 1e-5))


def _check_toy(section: Section) -> None:
    if "rate" not in section.counts.layers:
        raise DataError(f"section {section.name}: has no layer 'rate', so it is no toy tissue; make it by toy_section")


def _smooth(rng: np.random.Generator, side: int, sigma: int) -> Map:
    """Return a random field of mean 0 and spread 1, filtered at a quarter of the resolution to be quick."""
    coarse: Map = gaussian_filter(rng.standard_normal((side // 4 + 1,) * 2, dtype=np.float32), sigma / 4, mode="wrap")
    return np.asarray(zoom((coarse - coarse.mean()) / coarse.std(), 4, order=1)[:side, :side])


def _tissue(rng: np.random.Generator, side: int) -> _Tissue:
    at = np.arange(side, dtype=np.float32)
    edge = np.abs(2 * at / side - 1) ** 3
    outline = 9 * (0.985 - np.cbrt(edge + edge[:, None])) + 0.35 * _smooth(rng, side, 40) + 0.08 * _smooth(rng, side, 6)
    inside = (outline > 0) & (_smooth(rng, side, 16) < 2.35)
    parts = softmax(2.2 * np.stack([_smooth(rng, side, 45) for _ in range(3)]), axis=0)
    # The level lines of a crumpled plane are the fibres; nuclei of stroma lie along them.
    turn = np.float32(rng.uniform(0, np.pi))
    plane = at * np.cos(turn) + at[:, None] * np.sin(turn) + 30 * _smooth(rng, side, 45) + 2 * _smooth(rng, side, 9)
    down, right = np.gradient(plane)
    ridges = (0.5 + 0.5 * np.sin(plane * (2 * np.pi / 9))) * (1 + 0.3 * _smooth(rng, side, 8)).clip(0.2)
    return _Tissue(inside, parts, parts[2] * ridges * inside, np.arctan2(right, -down))


def _nuclei(rng: np.random.Generator, tissue: _Tissue) -> pd.DataFrame:
    """Scatter nuclei by composition and crowding; of two that would overlap, one is left out."""
    side = len(tissue.inside)
    size, crowding = np.exp(0.14 * _smooth(rng, side, 50)), np.exp(0.22 * _smooth(rng, side, 40))
    wanted = _DENSITY[:, None, None] * tissue.parts * (tissue.inside * crowding)
    # Where tumour nuclei are larger they are fewer, so that they cover as much.
    wanted[0] /= size**2
    limits = wanted.cumsum(axis=0)
    x, y = rng.uniform(0, side, (2, rng.poisson(limits[2].max() * side**2)))
    kind = (rng.uniform(0, limits[2].max(), len(x)) >= limits[:, y.astype(int), x.astype(int)]).sum(axis=0)
    x, y, kind = x[kind < 3], y[kind < 3], kind[kind < 3]
    here = y.astype(int), x.astype(int)
    radius = _RADIUS[kind] * np.where(kind == 0, size[here], 1) * np.exp(rng.normal(0, 0.08, len(x)))
    angle = np.where(kind == 2, tissue.angle[here] + rng.normal(0, 0.2, len(x)), rng.uniform(0, 2 * np.pi, len(x)))
    first, second = cKDTree(np.stack([x, y], axis=1)).query_pairs(2 * radius.max(initial=0), output_type="ndarray").T
    close = np.hypot(x[first] - x[second], y[first] - y[second]) < 0.95 * (radius[first] + radius[second])
    kept = ~np.isin(np.arange(len(x)), second[close])
    phase, dark = rng.uniform(0, 2 * np.pi, len(x)), np.exp(rng.normal(0, 0.12, len(x)))
    columns = {"kind": kind, "x": x, "y": y, "radius": radius, "angle": angle, "phase": phase, "dark": dark}
    return pd.DataFrame(columns)[kept]


def _draw(nuclei: pd.DataFrame, side: int) -> tuple[Map, np.ndarray]:
    """Return the haematoxylin of the nuclei, as optical density, and the number of pixels each one covers."""
    density, area = np.zeros((side, side), dtype=np.float32), np.zeros(len(nuclei))
    for number, (length, lobes) in enumerate(zip(_LENGTH**0.5, _LOBES, strict=True)):
        mine = nuclei["kind"].to_numpy() == number
        x, y, radius, angle, phase, dark = nuclei[mine].drop(columns="kind").to_numpy(np.float32).T[:, :, None]
        half = int(radius.max(initial=1) * length / (1 - 1.7 * lobes)) + 2
        down, right = np.indices((2 * half + 1, 2 * half + 1)).reshape(2, 1, -1) - half
        row, column = y.astype(int) + down, x.astype(int) + right
        right, down = column + np.float32(0.5) - x, row + np.float32(0.5) - y
        along = (right * np.cos(angle) + down * np.sin(angle)) / (radius * length)
        across = (down * np.cos(angle) - right * np.sin(angle)) / radius * length
        bearing = np.arctan2(across, along)
        waves = np.cos(3 * bearing + phase) + 0.7 * np.cos(2 * bearing - phase)
        reach = np.hypot(along, across) * (1 + lobes * waves)
        covered = (reach < 1) & (np.minimum(row, column) >= 0) & (np.maximum(row, column) < side)
        area[mine] = covered.sum(axis=1)
        shade = dark * (_HEART[number] + (_RIM - _HEART)[number] * reach**2)
        np.maximum.at(density, (row[covered], column[covered]), shade[covered])
    return density, area


def _stain(rng: np.random.Generator, tissue: _Tissue, nuclei: Map) -> UInt8[np.ndarray, "side side 3"]:
    """Colour the drawing with a stain of this section's own strength, hue, background and light."""
    grain = 4 * gaussian_filter(rng.standard_normal(nuclei.shape, dtype=np.float32), 1.3)
    thickness = tissue.inside * np.exp(0.10 * _smooth(rng, len(nuclei), 60))
    haematoxylin: Map = gaussian_filter(thickness * (0.06 + 0.015 * grain + nuclei), 0.6)
    eosin: Map = gaussian_filter(thickness * (0.24 + 0.035 * grain + 0.42 * tissue.fibre), 0.6)
    hues = _STAINS * np.exp(rng.normal(0, 0.10, (2, 3)))
    hues *= np.exp(rng.normal(0, 0.16, (2, 1))) / np.linalg.norm(hues, axis=1, keepdims=True)
    blue, pink = hues.astype(np.float32)
    density = haematoxylin[..., None] * blue + eosin[..., None] * pink
    light = rng.uniform(228, 248) * np.exp(-np.abs(rng.normal(0, 0.02, 3)))
    shown = np.exp(-density) * light.astype(np.float32) + 2 * rng.standard_normal(density.shape, dtype=np.float32)
    return np.asarray(np.clip(shown, 0, 255), dtype=np.uint8)


def _measure(tissue: _Tissue, nuclei: pd.DataFrame, area: np.ndarray, xy: np.ndarray) -> Morphology:
    row, column = nuclei["y"].to_numpy(int), nuclei["x"].to_numpy(int)
    maps = np.zeros((6, *tissue.inside.shape), dtype=np.float32)
    maps[nuclei["kind"], row, column] = 1
    maps[3, row, column] = area
    maps[4], maps[5] = tissue.fibre > 0.3, tissue.inside
    first = np.round(xy - WINDOW / 2).astype(int)
    boxes = [maps[:, max(top, 0) : top + WINDOW, max(left, 0) : left + WINDOW] for left, top in first]
    sums = np.stack([box.sum(axis=(1, 2), dtype=np.float64) for box in boxes])
    sums[:, 3] /= np.maximum(sums[:, :3].sum(axis=1), 1)
    sums[:, 4:] /= WINDOW**2
    sums[:, 5] = 1 - sums[:, 5]
    return sums


def write_folder(sections: Sequence[Section], out: Path, pixels: int = 64) -> None:
    """Write the contest form: CSVs of raw counts beside tiles of `pixels` slide pixels, white beyond the slide.

    `train.csv` holds ID, path, section, genes; `test.csv` ID, path, section of the last patient's sections (of the
    last alone, if all are of one patient); `test_truth.csv` ID and the genes held back.

    Raises:
        DataError: there are fewer than two sections, they differ in genes, `out` exists and is not empty, or it cannot be
            written.

    """
    if len(sections) < 2 or any(not section.genes.equals(sections[0].genes) for section in sections):
        raise DataError(f"{out}: cannot divide {len(sections)} section(s); give two or more with the same genes")
    train = [section for section in sections if section.patient != sections[-1].patient] or sections[:-1]
    test = [section for section in sections if all(section is not other for other in train)]
    with _whole(out, sections) as half:
        shown = pd.concat([_write_tiles(section, half, "train", pixels) for section in train])
        shown.to_csv(half / "train.csv", index=False)
        held = pd.concat([_write_tiles(section, half, "test", pixels) for section in test])
        held[["ID", "path", "section", "patient"]].to_csv(half / "test.csv", index=False)
        held.drop(columns=["path", "section", "patient"]).to_csv(half / "test_truth.csv", index=False)


def _write_tiles(section: Section, folder: Path, part: str, pixels: int) -> pd.DataFrame:
    (folder / part).mkdir(exist_ok=True)
    table = _counts(section).reset_index(names="ID")
    table["ID"] = section.name + "_" + table["ID"]
    table.insert(1, "path", part + "/" + table["ID"] + ".png")
    table.insert(2, "section", section.name)
    table.insert(3, "patient", section.patient)
    for row, path in enumerate(table["path"]):
        tile = cut(section, row, TileSpec(pixels, (pixels * section.mpp,)))[0]
        save_png(np.ascontiguousarray(tile.transpose(1, 2, 0)), folder / path)
    return table


def write_st2k(sections: Sequence[Section], out: Path) -> None:
    """Write the ST form: a folder a section, with slide (JPEG), counts and alignment table, and `sections.csv`.

    The alignment table names every place of the grid; `selected` is 0 where the section has no spot.

    Raises:
        DataError: a section is no toy tissue, or `out` exists and is not empty.

    """
    with _whole(out, sections) as half:
        for section in sections:
            _check_toy(section)
            name, side, pitch = section.name, section.slide.size[0], section.counts.uns["pitch"]
            (half / name).mkdir()
            save_jpeg(section.slide.region(0, 0, side, "white"), half / name / f"{name}.jpg")
            table, packing = _counts(section), {"method": "gzip", "mtime": 0}
            table.to_csv(half / name / f"{name}.tsv.gz", sep="\t", compression=packing)
            y, x = np.divmod(np.arange((side // pitch) ** 2), side // pitch)
            table = pd.DataFrame({"x": x, "y": y, "new_x": 1.0 * x, "new_y": 1.0 * y})
            table["pixel_x"], table["pixel_y"] = (x + 0.5) * pitch, (y + 0.5) * pitch
            table["selected"] = [int(f"{a}x{b}" in section.counts.obs_names) for a, b in zip(x, y, strict=True)]
            table.to_csv(half / name / f"alignment_table_{name}.tsv", sep="\t", index=False)
        owners = pd.DataFrame([(section.name, section.patient) for section in sections], columns=["section", "patient"])
        owners.to_csv(half / "sections.csv", index=False)


def _counts(section: Section) -> pd.DataFrame:
    counts = csr_matrix(section.counts.X).toarray().astype(np.int64)
    return pd.DataFrame(counts, index=section.counts.obs_names, columns=section.genes)


@contextmanager
def _whole(out: Path, sections: Sequence[Section]) -> Iterator[Path]:
    """Give a folder beside `out` that takes its place once all is written, and vanishes if that fails."""
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise DataError(f"{out}: exists and is not an empty folder; name a new folder, or empty this one first")
    if len({section.name for section in sections}) < len(sections):
        raise DataError(f"{out}: two sections have one name, so one would overwrite the other; rename one")
    with whole(out.absolute()) as half:
        half.mkdir()
        yield half
        if out.exists():
            out.rmdir()


def read(data: DataConfig) -> tuple[Section, ...]:
    """Make the four toy sections of two donors, and return those asked for."""
    made = {section.name: section for section in toy_sections()}
    names = chosen_names(list(made), data)
    return tuple(replace(made[name], patient=data.patients.get(name, made[name].patient)) for name in names)
