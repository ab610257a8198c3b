"""Moran's I and structural similarity against plain loops, and against well-kept libraries where they are installed."""

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from bleep.evaluation.statistics import (
    REACH,
    SIGMA,
    WINDOW,
    Windows,
    morans_i,
    neighbour_graph,
    smoothing,
    structural_similarity,
)


def square(side: int) -> np.ndarray:
    return np.stack(np.meshgrid(np.arange(side), np.arange(side)), -1).reshape(-1, 2) * 290.0


def hexagons(side: int) -> np.ndarray:
    xy = square(side)
    xy[:, 0] += (xy[:, 1] / 290 % 2) * 145
    xy[:, 1] *= np.sqrt(3) / 2
    return xy


@pytest.fixture
def scattered() -> np.ndarray:
    return np.random.default_rng(1).random((60, 2)) * 1000


@pytest.fixture
def values() -> np.ndarray:
    return np.random.default_rng(2).random((60, 3))


def plain_moran(values: np.ndarray, xy: np.ndarray) -> list[float]:
    distance = cdist(xy, xy)
    pitch = np.median(np.sort(distance, axis=1)[:, 1])
    near = (distance < REACH * pitch) & ~np.eye(len(xy), dtype=bool)
    found = []
    for gene in values.T:
        z, total, linked = gene - gene.mean(), 0.0, 0
        for i in range(len(xy)):
            for j in np.flatnonzero(near[i]):
                total += z[i] * z[j] / near[i].sum()
            linked += near[i].any()
        found.append(len(xy) / linked * total / (z**2).sum())
    return found


def test_morans_i_is_that_of_a_plain_double_loop(scattered: np.ndarray, values: np.ndarray) -> None:
    np.testing.assert_allclose(morans_i(values, neighbour_graph(scattered)), plain_moran(values, scattered), rtol=1e-10)


def test_morans_i_is_esdas(scattered: np.ndarray, values: np.ndarray) -> None:
    esda, libpysal = pytest.importorskip("esda"), pytest.importorskip("libpysal")
    graph = neighbour_graph(scattered).toarray()
    weights = libpysal.weights.full2W((graph > 0).astype(float), silence_warnings=True)
    for gene, found in zip(values.T, morans_i(values, neighbour_graph(scattered)), strict=True):
        assert found == pytest.approx(esda.Moran(gene, weights, transformation="r", permutations=0).I)


@pytest.mark.parametrize(("grid", "inner"), [(square, 8), (hexagons, 6)])
def test_a_grids_neighbours_are_the_ring_around_a_spot(grid: object, inner: int) -> None:
    xy = grid(9)  # type: ignore[operator]
    graph = neighbour_graph(xy)
    counts = np.diff(graph.indptr)
    assert counts.max() == inner
    assert np.bincount(counts).argmax() == inner
    np.testing.assert_allclose(graph.sum(axis=1), 1)


def test_a_smooth_map_has_high_morans_i_a_chequered_one_a_low_and_noise_none() -> None:
    xy = square(12)
    chequered = (xy.sum(axis=1) / 290 % 2)[:, None]
    noise = np.random.default_rng(0).random((144, 1))
    found = morans_i(np.hstack([xy[:, :1], chequered, noise, np.ones((144, 1))]), neighbour_graph(xy))
    assert found[0] > 0.85
    assert found[1] < 0
    assert abs(found[2]) < 0.1
    assert np.isnan(found[3])


def test_few_spots_have_no_maps() -> None:
    for many in (1, 2):
        xy = np.arange(2.0 * many).reshape(many, 2)
        assert morans_i(np.ones((many, 2)), neighbour_graph(xy)).shape == (2,)
    assert np.isnan(morans_i(np.ones((1, 2)), neighbour_graph(np.zeros((1, 2))))).all()


def test_smoothing_is_the_mean_over_a_spot_and_its_eight_neighbours() -> None:
    xy, values = square(5), np.random.default_rng(0).random((25, 2))
    smooth = smoothing(xy) @ values
    middle = [6, 7, 8, 11, 12, 13, 16, 17, 18]
    np.testing.assert_allclose(smooth[12], values[middle].mean(axis=0))
    np.testing.assert_allclose(smooth[0], values[[0, 1, 5, 6]].mean(axis=0))


def plain_ssim(predicted: np.ndarray, measured: np.ndarray, xy: np.ndarray) -> list[float]:
    distance = cdist(xy, xy)
    distance = distance / np.median(np.sort(distance, axis=1)[:, 1])
    found = []
    for p, m in zip(predicted.T, measured.T, strict=True):
        c1, c2 = (0.01 * np.ptp(m)) ** 2, (0.03 * np.ptp(m)) ** 2
        local = []
        for row in distance:
            w = np.where(row <= WINDOW, np.exp(-(row**2) / (2 * SIGMA**2)), 0)
            w = w / w.sum()
            a, b = (w * p).sum(), (w * m).sum()
            va, vb, cov = (w * (p - a) ** 2).sum(), (w * (m - b) ** 2).sum(), (w * (p - a) * (m - b)).sum()
            local.append((2 * a * b + c1) * (2 * cov + c2) / ((a**2 + b**2 + c1) * (va + vb + c2)))
        found.append(np.mean(local))
    return found


def test_structural_similarity_is_that_of_a_plain_loop(scattered: np.ndarray, values: np.ndarray) -> None:
    predicted = values + np.random.default_rng(3).normal(0, 0.2, values.shape)
    found = structural_similarity(predicted, values, Windows.of(values, scattered))
    np.testing.assert_allclose(found, plain_ssim(predicted, values, scattered), rtol=1e-8)


def test_structural_similarity_on_a_grid_is_scikit_images_but_for_the_windows_corners() -> None:
    metrics = pytest.importorskip("skimage.metrics", reason="scikit-image is an extra; the plain loop is always compared")
    rng, xy = np.random.default_rng(0), square(30)
    measured = np.sin(xy[:, :1] / 900) + rng.normal(0, 0.2, (900, 1))
    predicted = measured + rng.normal(0, 0.3, (900, 1))
    weights = Windows.of(measured, xy)
    inner = (xy >= 3 * 290).all(axis=1) & (xy <= 26 * 290).all(axis=1)
    _, whole = metrics.structural_similarity(
        measured.reshape(30, 30), predicted.reshape(30, 30), data_range=float(np.ptp(measured)), gaussian_weights=True,
        sigma=SIGMA, truncate=WINDOW, use_sample_covariance=False, full=True,
    )  # fmt: skip
    mine = structural_similarity(predicted, measured, weights)
    assert mine[0] == pytest.approx(whole.ravel()[inner].mean(), abs=0.02)


def test_a_perfect_map_is_alike_a_flat_one_is_not_and_a_flat_gene_has_no_score(
    scattered: np.ndarray, values: np.ndarray
) -> None:
    values[:, 2] = 1.0
    windows = Windows.of(values, scattered)
    assert structural_similarity(values, values, windows)[:2] == pytest.approx([1, 1])
    flat = np.tile(values.mean(axis=0), (60, 1))
    assert (structural_similarity(flat, values, windows)[:2] < 0.5).all()
    assert np.isnan(structural_similarity(values, values, windows)[2])
    tiny = 1e-9 * values  # Such as shares of a total.
    np.testing.assert_allclose(
        structural_similarity(1e-9 * flat, tiny, Windows.of(tiny, scattered)), structural_similarity(flat, values, windows)
    )


def test_windows_end_at_the_same_spots_whatever_unit_places_are_in() -> None:
    """The fourth spot of a row is just three pitches away, which rounds to less or to more."""
    xy = square(8) / 290
    sizes = {Windows.of(np.zeros((64, 1)), xy * unit).weights.nnz for unit in np.linspace(0.1, 300, 97)}
    assert sizes == {int((cdist(xy, xy) <= WINDOW).sum())}
