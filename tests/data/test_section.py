"""A section is checked when it is made."""

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from scipy import sparse

from bleep.data.qc.measures import measure
from bleep.data.section import Section, odd_values
from bleep.data.slides import ArraySlide
from bleep.data.tiles import TileSpec
from bleep.errors import DataError
from bleep.evaluation.leakage import repeated


def test_its_digest_is_of_picture_positions_and_counts_and_of_no_name(toys: tuple[Section, ...]) -> None:
    section = toys[0]
    assert replace(section, name="x", patient="y").digest() == section.digest()
    moved = section.xy.copy()
    moved[0, 0] += 1
    counts = section.counts.copy()
    counts.X = sparse.csr_matrix(counts.X + sparse.eye_array(*counts.shape))
    others = [replace(section, xy=moved), replace(section, counts=counts), replace(section, slide=toys[1].slide)]
    assert len({section.digest(), *(other.digest() for other in others)}) == 4


def test_a_value_that_is_no_number_is_named_without_an_array_of_all_genes() -> None:
    for kind in (sparse.csr_matrix, sparse.csc_matrix):
        matrix = kind(([1.0, 3.0, np.nan, np.inf], ([3, 8, 8, 9], [5, 8, 7, 1])), shape=(1_000_000, 1_000_000))
        told = odd_values(matrix, pd.RangeIndex(1_000_000), pd.RangeIndex(1_000_000))
        assert told.startswith("the expression holds values that are not numbers, first for spot '8', gene '7'; expected")


def test_a_dense_and_a_sparse_table_have_one_digest(toys: tuple[Section, ...]) -> None:
    counts = toys[0].counts.copy()
    counts.X = sparse.csr_matrix(counts.X).toarray()
    assert replace(toys[0], counts=counts).digest() == toys[0].digest()


def test_a_subset_keeps_each_spot_with_its_place_and_counts(toys: tuple[Section, ...]) -> None:
    rows = np.array([7, 3])
    part = toys[0].subset(rows)
    assert part.ids == tuple(toys[0].ids[row] for row in rows)
    np.testing.assert_array_equal(part.xy, toys[0].xy[rows])
    np.testing.assert_array_equal(part.counts.X.toarray(), sparse.csr_matrix(toys[0].counts.X).toarray()[rows])


@pytest.mark.parametrize("bad", [np.nan, np.inf, -1.0])
@pytest.mark.parametrize("dense", [True, False])
def test_counts_that_are_no_counts_are_refused(bad: float, dense: bool, toys: tuple[Section, ...]) -> None:
    counts = toys[0].counts.copy()
    matrix = sparse.csr_matrix(counts.X).toarray()
    matrix[2, 3] = bad
    counts.X = matrix if dense else sparse.csr_matrix(matrix)
    with pytest.raises(DataError, match="negative" if bad == -1 else "not numbers"):
        replace(toys[0], counts=counts)


@pytest.mark.parametrize("place", [(-1.0, 5.0), (5.0, -1.0), (256.0, 5.0), (5.0, 256.0)])
def test_a_spot_outside_the_slide_is_refused(place: tuple[float, float], toys: tuple[Section, ...]) -> None:
    xy = toys[0].xy.copy()
    xy[4] = place
    with pytest.raises(DataError, match=r"1 of \d+ spots lie outside the slide of 256 x 256"):
        replace(toys[0], xy=xy)


def test_a_place_that_is_no_number_is_refused(toys: tuple[Section, ...]) -> None:
    xy = toys[0].xy.copy()
    xy[4, 1] = np.nan
    with pytest.raises(DataError, match="is not a number"):
        replace(toys[0], xy=xy)


@pytest.mark.parametrize("mpp", [0.0, -1.0, float("nan"), float("inf")])
def test_a_scale_that_is_none_is_refused(mpp: float, toys: tuple[Section, ...]) -> None:
    with pytest.raises(DataError, match="microns per pixel"):
        replace(toys[0], mpp=mpp)


def test_no_spots_and_other_lengths_are_refused(toys: tuple[Section, ...]) -> None:
    with pytest.raises(DataError, match="no spots"):
        toys[0].subset(np.array([], dtype=int))
    with pytest.raises(DataError, match="came with"):
        replace(toys[0], xy=toys[0].xy[1:])


def test_a_spot_or_gene_that_stands_twice_is_refused(toys: tuple[Section, ...]) -> None:
    for what, axis in (("spot id", "obs_names"), ("gene", "var_names")):
        counts = toys[0].counts.copy()
        names = list(getattr(counts, axis))
        names[5] = names[2]
        setattr(counts, axis, names)
        with pytest.raises(DataError, match=f"{what} '{names[2]}' stands more than once"):
            replace(toys[0], counts=counts)


def made(section: Section, **fields: Any) -> Section:
    """Make a section of fields of any kind, as where nobody checks types; the tests' own check would refuse them first."""
    other = replace(section)
    for name, value in fields.items():
        object.__setattr__(other, name, value)
    other.__post_init__()
    return other


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("name", 7, "section 7: its name is 7, a int; expected text"),
        ("patient", 3, "toy1: its patient is 3, a int; expected text"),
        ("species", None, "toy1: its species is None, a NoneType; expected text"),
        ("mpp", None, "toy1: None microns per pixel; expected a positive number"),
        ("mpp", "1.0", "toy1: '1.0' microns per pixel; expected a positive number"),
        ("xy", np.zeros((3, 3)), r"toy1: its positions are a ndarray of shape \(3, 3\); expected numbers \[spots, 2\]"),
        ("xy", None, "toy1: its positions are a NoneType"),
        ("counts", np.zeros((3, 3)), "toy1: its counts are a ndarray; expected an AnnData"),
        ("slide", np.zeros((8, 8, 3), np.uint8), "toy1: its picture is a ndarray; expected a slide, as .*ArraySlide"),
    ],
)
def test_a_field_of_another_kind_is_refused_by_its_name(
    field: str, value: object, said: str, toys: tuple[Section, ...]
) -> None:
    with pytest.raises(DataError, match=said):
        made(toys[0], **{field: value})


def test_pictures_and_counts_that_are_no_bytes_and_numbers_are_refused(toys: tuple[Section, ...]) -> None:
    for odd in (np.zeros((256, 256), np.uint8), np.zeros((256, 256, 4), np.uint8), np.zeros((256, 256, 3), np.uint16)):
        slide = ArraySlide(np.zeros((256, 256, 3), np.uint8))
        object.__setattr__(slide, "pixels", odd)
        with pytest.raises(
            DataError, match=r"toy1: its picture is uint\d+ of shape .*; expected uint8 of \[height, width, 3\]"
        ):
            made(toys[0], slide=slide)
    for matrix, said in (
        (np.full(toys[0].counts.shape, "3", object), "values of kind object"),
        (np.ones(toys[0].counts.shape, np.float16), "values of kind float16"),
        (None, "no matrix"),
    ):
        counts = AnnData(X=matrix, obs=toys[0].counts.obs, var=toys[0].counts.var)
        with pytest.raises(DataError, match=f"toy1: its counts hold {said}; expected numbers"):
            made(toys[0], counts=counts)


def test_positions_of_other_numbers_are_taken(toys: tuple[Section, ...]) -> None:
    for xy in (toys[0].xy.astype(np.float32), toys[0].xy.tolist(), pd.DataFrame(toys[0].xy)):
        found = made(toys[0], xy=xy, mpp=np.float32(1.0))
        assert found.digest() == toys[0].digest()
        assert type(found.mpp) is float


@pytest.mark.parametrize("kind", [sparse.csr_matrix, sparse.csc_matrix])
def test_a_count_that_is_kept_in_parts_is_one_count(kind: Any, toys: tuple[Section, ...]) -> None:
    """With an entry a molecule fewer than no zeros were told, and repeated spots were not known as such."""
    whole = toys[0]
    table = kind(whole.counts.X)
    ends = np.concatenate([[0], np.cumsum([*map(int, np.add.reduceat(table.data, table.indptr[:-1]))])])
    molecules = np.ones(int(table.data.sum()), np.float32), np.repeat(table.indices, table.data.astype(int)), ends
    counts = whole.counts.copy()
    counts.X = kind(molecules, shape=table.shape)
    given = counts.X.copy()
    parted = replace(whole, counts=counts)
    assert parted.digest() == whole.digest()
    assert repeated(parted, whole) == repeated(whole, whole) == len(whole)
    spec = TileSpec(pixels=32, microns=(64.0,))
    assert measure(parted, spec).counts == measure(whole, spec).counts
    assert counts.X.nnz == given.nnz > table.nnz  # What was given is not changed.
