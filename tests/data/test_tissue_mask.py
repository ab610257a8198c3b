"""Tissue is found where stain is, and the grid lies where tissue is."""

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy import ndimage

from bleep.config import DataConfig
from bleep.data.readers import read_sections
from bleep.data.readers import wsi as masks
from bleep.data.slides import open_slide
from bleep.errors import DataError

GLASS, EOSIN, BLUE = (238, 236, 240), (226, 170, 200), (110, 80, 150)


def drawn(side: int = 300, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """A round piece of pink tissue with blue nuclei on noisy glass, at 8 microns a pixel, and where it is."""
    rng = np.random.default_rng(seed)
    down, right = np.mgrid[:side, :side] - side / 2
    inside = np.hypot(down, right * 1.3) < side / 3
    picture = np.where(inside[..., None], EOSIN, GLASS).astype(float)
    picture[inside & (rng.random(inside.shape) < 0.15)] = BLUE
    return np.clip(picture + rng.normal(0, 2, picture.shape), 0, 255).astype(np.uint8), inside


def agreement(one: np.ndarray, other: np.ndarray) -> float:
    return float((one & other).sum() / (one | other).sum())


def test_tissue_is_found_on_glass() -> None:
    picture, inside = drawn()
    assert agreement(masks.detect(picture, 8.0), inside) > 0.9


def test_a_haze_of_eosin_and_shadows_are_not_tissue() -> None:
    picture, inside = drawn()
    haze = ndimage.gaussian_filter(np.where(np.arange(300) > 200, 1.0, 0.0), 20)[None, :, None]
    dim = 1 - 0.3 * ndimage.gaussian_filter(np.where(np.arange(300) < 60, 1.0, 0.0), 10)[:, None, None]
    hazy = np.clip(picture * dim * (1 - haze * np.array([0.0, 0.08, 0.03])), 0, 255).astype(np.uint8)
    assert agreement(masks.detect(hazy, 8.0), inside) > 0.9


def test_pale_tissue_is_found_where_there_is_no_darker() -> None:
    picture, inside = drawn()
    pale = np.where(inside[..., None], (237, 214, 231), GLASS) + np.random.default_rng(4).normal(0, 2, picture.shape)
    assert agreement(masks.detect(pale.astype(np.uint8), 8.0), inside) > 0.9


@pytest.mark.parametrize("colour", [(255, 255, 255), GLASS, (245, 238, 222), (128, 128, 128), (0, 0, 0)])
@pytest.mark.parametrize("noise", [0.0, 3.0])
def test_blank_glass_has_no_tissue(colour: tuple[int, int, int], noise: float) -> None:
    rng = np.random.default_rng(1)
    blank = np.clip(np.full((200, 300, 3), colour) + rng.normal(0, noise, (200, 300, 3)), 0, 255).astype(np.uint8)
    assert not masks.detect(blank, 8.0).any()


def test_grey_dust_and_black_borders_are_not_tissue() -> None:
    picture, inside = drawn()
    picture[:20], picture[:, -15:] = np.random.default_rng(3).integers(0, 8, (20, 300, 3)), 3
    picture[250:270, 30:80] = (90, 90, 92)
    assert agreement(masks.detect(picture, 8.0), inside) > 0.9


def test_a_picture_full_of_tissue_is_tissue() -> None:
    rng = np.random.default_rng(2)
    full = np.where(rng.random((200, 300, 1)) < 0.3, BLUE, EOSIN)
    full[:, :100] = np.where(rng.random((200, 100, 1)) < 0.7, BLUE, EOSIN)
    assert masks.detect(full.astype(np.uint8), 8.0).mean() > 0.95


@pytest.mark.parametrize(("side", "kept"), [(160, False), (320, True)])
def test_specks_are_dropped_and_holes_filled_below_a_twentieth_of_a_square_millimetre(side: int, kept: bool) -> None:
    pixels = side // 8
    speck = np.full((200, 200, 3), GLASS, np.uint8)
    speck[80 : 80 + pixels, 60 : 60 + pixels] = EOSIN
    hole = np.full((200, 200, 3), EOSIN, np.uint8)
    hole[80 : 80 + pixels, 60 : 60 + pixels] = GLASS
    # Glass elsewhere, for what is white to be known; it is far from the hole.
    hole[:, 160:] = GLASS
    assert masks.detect(speck, 8.0).any() == kept
    assert (not masks.detect(hole, 8.0)[80 : 80 + pixels, 60 : 60 + pixels].all()) == kept


def test_the_resolution_of_the_overview_hardly_matters() -> None:
    picture, _ = drawn()
    fine = np.asarray(Image.fromarray(picture).resize((600, 600), Image.Resampling.BILINEAR))
    found = masks.detect(fine, 4.0).reshape(300, 2, 300, 2).mean(axis=(1, 3)) > 0.5
    assert agreement(found, masks.detect(picture, 8.0)) > 0.95


def test_without_the_extra_the_way_out_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "skimage.filters", None)
    with pytest.raises(DataError, match=r"extra wsi: pip install -e '\.\[wsi\]' in bleep's clone \(or give a mask\)"):
        masks.detect(drawn()[0], 8.0)


@pytest.mark.data
@pytest.mark.parametrize(("form", "folder", "mpp"), [("her2st", "her2st", 0.69), ("st2k", "mob_st2k", 4.5)])
def test_on_real_sections_spots_lie_on_the_mask_and_little_else_does(form: str, folder: str, mpp: float, shared: Path) -> None:
    for section in read_sections(DataConfig.model_validate({"source": form, "root": shared / "data" / folder, "mpp": mpp})):
        slide = open_slide(section.slide.path)  # type: ignore[attr-defined]
        overview = slide.thumbnail(round(max(slide.size) * mpp / masks.MICRONS))
        mask = masks.detect(overview, mpp * max(slide.size) / max(overview.shape))
        scale = mask.shape[1] / slide.size[0]
        right, down = (section.xy * scale).astype(int).T
        assert mask[down, right].mean() > 0.9, section.name
        # Tissue further from any spot than two pitches of the array: haze, dust, the frame.
        spots = np.ones_like(mask)
        spots[down, right] = False
        far = ndimage.distance_transform_edt(spots) > 2 * section.pitch() * scale
        assert (mask & far).sum() < 0.05 * mask.sum(), section.name


def brute_force(mask: np.ndarray, size: tuple[int, int], step: float) -> dict[tuple[int, int], float]:
    """The share of tissue of each square, from the mask at one pixel for each level-0 pixel and forty parts of it."""
    fine = np.asarray(Image.fromarray(mask).resize((size[0] * 8, size[1] * 8), Image.Resampling.NEAREST))
    found = {}
    side = round(step * 8)
    for row in range(-(-fine.shape[0] // side)):
        for column in range(-(-fine.shape[1] // side)):
            part = fine[row * side : (row + 1) * side, column * side : (column + 1) * side]
            if (column + 0.5) * side < fine.shape[1] and (row + 0.5) * side < fine.shape[0]:
                found[column, row] = float(part.sum() / side**2)
    return found


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 10**6), st.integers(9, 40), st.integers(9, 40), st.sampled_from([2.0, 3.5, 7.25, 8.0]))
def test_the_grid_holds_every_square_that_is_half_tissue(seed: int, width: int, height: int, step: float) -> None:
    rng = np.random.default_rng(seed)
    mask = rng.random((height * 2, width * 2)) < rng.uniform(0.2, 0.9)
    grid = masks.grid(mask, (width, height), step)
    expected = {place: share for place, share in brute_force(mask, (width, height), step).items() if share >= 0.5 - 1e-9}
    assert set(zip(grid["grid_x"], grid["grid_y"], strict=True)) == set(expected)
    np.testing.assert_allclose(
        grid["tissue"], [expected[x, y] for x, y in zip(grid["grid_x"], grid["grid_y"], strict=True)], atol=1e-9
    )
    assert (grid["x"].between(0, width, inclusive="left") & grid["y"].between(0, height, inclusive="left")).all()


def test_names_of_tiles_are_places_of_the_grid_whatever_the_mask() -> None:
    full, part = np.ones((30, 40), bool), np.zeros((30, 40), bool)
    part[15:, 20:] = True
    whole, half = (masks.grid(mask, (400, 300), 50.0) for mask in (full, part))
    assert list(whole.index[:2]) == ["x0_y0", "x1_y0"]
    assert whole.loc["x1_y2", ["x", "y"]].tolist() == [75.0, 125.0]
    assert len(whole) == 48
    assert len(half) == 12
    pd.testing.assert_frame_equal(half, whole.loc[half.index])


def test_a_step_that_cannot_be_is_refused() -> None:
    mask = np.ones((30, 40), bool)
    with pytest.raises(DataError, match="smaller than half a step of 700"):
        masks.grid(mask, (400, 300), 700.0)
    with pytest.raises(DataError, match=r"gives 4e\+05 x 3e\+05 tiles, more than 4,000,000; raise data.step"):
        masks.grid(mask, (400, 300), 0.001)


def test_a_mask_is_written_edited_and_read_back(tmp_path: Path) -> None:
    mask = np.random.default_rng(0).random((30, 40)) < 0.5
    masks.save_mask(mask, tmp_path / "mask.png")
    np.testing.assert_array_equal(masks.read_mask(tmp_path / "mask.png", (4000, 3000), 10**6), mask)
    with Image.open(tmp_path / "mask.png") as image:
        image.convert("L").resize((400, 300), Image.Resampling.NEAREST).save(tmp_path / "larger.png")
    again = masks.read_mask(tmp_path / "larger.png", (4000, 3000), 10**6)
    pd.testing.assert_frame_equal(masks.grid(again, (4000, 3000), 90.0), masks.grid(mask, (4000, 3000), 90.0))


def test_grey_in_a_mask_is_tissue_when_nearer_to_white(tmp_path: Path) -> None:
    Image.fromarray(np.array([[0, 127, 128, 255]], np.uint8)).save(tmp_path / "mask.png")
    assert masks.read_mask(tmp_path / "mask.png", (400, 100), 10**6).tolist() == [[False, False, True, True]]


@pytest.mark.parametrize("name", ["mask.png", "planes.tif"])
def test_what_was_erased_in_a_mask_is_no_tissue(name: str, tmp_path: Path) -> None:
    """Editors leave transparent pixels where they erased, of whatever colour."""
    edited = np.full((3, 4, 4), 255, np.uint8)
    edited[1, :, 3] = 0
    edited[2, 1] = 0, 0, 0, 255
    if name == "mask.png":
        Image.fromarray(edited).save(tmp_path / name)
    else:
        tifffile = pytest.importorskip("tifffile")
        planes = np.moveaxis(edited, -1, 0)
        tifffile.imwrite(tmp_path / name, planes, photometric="rgb", planarconfig="separate", extrasamples=["unassalpha"])
    found = masks.read_mask(tmp_path / name, (400, 300), 10**6)
    assert found.tolist() == [[True] * 4, [False] * 4, [True, False, True, True]]


@pytest.mark.parametrize("shape", [(300, 400), (30, 40), (31, 40), (3, 4), (3000, 4000)])
def test_a_mask_may_have_any_size_of_the_slides_shape(shape: tuple[int, int], tmp_path: Path) -> None:
    Image.fromarray(np.full(shape, 255, np.uint8)).save(tmp_path / "mask.png")
    assert masks.read_mask(tmp_path / "mask.png", (400, 300), 10**8).all()


@pytest.mark.parametrize("shape", [(400, 300), (40, 40), (34, 40), (300, 380)])
def test_a_mask_of_another_shape_is_refused(shape: tuple[int, int], tmp_path: Path) -> None:
    Image.fromarray(np.full(shape, 255, np.uint8)).save(tmp_path / "mask.png")
    with pytest.raises(DataError, match="another shape than the slide's 400 x 300"):
        masks.read_mask(tmp_path / "mask.png", (400, 300), 10**8)
