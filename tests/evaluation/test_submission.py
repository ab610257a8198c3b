"""A submission is its sample with other numbers."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bleep.contest import Submission, find_sample
from bleep.errors import DataError, MismatchError

IDS = ["TEST_0002", "TEST_0000", "TEST_0001"]
GENES = ["AL645608.7", 'odd "name"', "a,b"]
HEADER = b'ID,AL645608.7,"odd ""name""","a,b"'
SPOTS = ["TEST_0000", "TEST_0001", "TEST_0002"]
PREDICTED = ["a,b", "unasked", "AL645608.7", 'odd "name"']
VALUES = np.array([[1, 2, 3, 4], [5, 6, 7, 8], [-0.5, 1e-7, 11.123456, 12]], dtype=np.float32)


@pytest.fixture
def sample(tmp_path: Path) -> Path:
    rows = b"\r\n".join(id.encode() + b",0,0,0" for id in IDS)
    (tmp_path / "sample_submission.csv").write_bytes(HEADER + b"\r\n" + rows + b"\r\n")
    return tmp_path / "sample_submission.csv"


def test_ids_genes_and_header_are_the_samples(sample: Path, tmp_path: Path) -> None:
    out = tmp_path / "submission.csv"
    submission = Submission.of(sample, SPOTS, PREDICTED)
    submission.write(VALUES, out)
    assert out.read_bytes().split(b"\n")[0] == HEADER
    found = pd.read_csv(out)
    assert list(found["ID"]) == IDS
    assert [line.split(b",")[0].decode() for line in out.read_bytes().splitlines()[1:]] == IDS
    assert list(found.columns) == ["ID", *GENES]
    expected = pd.DataFrame(VALUES, SPOTS, PREDICTED).loc[IDS, GENES].to_numpy()
    np.testing.assert_array_equal(found[GENES].to_numpy(np.float32), expected)
    assert submission.describe() == f"3 IDs x 3 genes, in the order of {sample}"


DAMAGES: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "an ID more": (lambda b: b + b"TEST_0009,0,0,0\r\n", "asks for 1 IDs of 4 that are not predicted, first 'TEST_0009'"),
    "an ID less": (lambda b: b.replace(b"TEST_0001,0,0,0\r\n", b""), "lacks 1 of the 3 IDs of the tiles, first 'TEST_0001'"),
    "another gene": (
        lambda b: b.replace(b"AL645608.7", b"AL000"),
        "asks for 1 genes of 3 that are not predicted",
    ),
    "an ID twice": (lambda b: b + b"TEST_0001,0,0,0\r\n", "ID 'TEST_0001' stands more than once"),
    "a gene twice": (lambda b: b.replace(b'"a,b"', b"AL645608.7"), "gene 'AL645608.7' stands more than once"),
    "no header": (lambda b: b.split(b"\r\n", 1)[1], "begins with TEST_0002, 0, 0; expected a header of ID and genes"),
    "ID not first": (lambda b: b.replace(b"ID,AL645608.7", b"AL645608.7,ID"), "begins with AL645608.7, ID"),
    "nothing": (lambda b: b"", "begins with nothing"),
    "no text": (lambda b: b"\xff\xfe\x00" + b, "cannot be read as a sample submission"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_sample_of_other_ids_or_genes_is_refused(damage: str, sample: Path) -> None:
    change, said = DAMAGES[damage]
    sample.write_bytes(change(sample.read_bytes()))
    with pytest.raises((DataError, MismatchError)) as caught:
        Submission.of(sample, SPOTS, PREDICTED)
    assert said in str(caught.value)
    assert str(sample) in str(caught.value)


def test_the_sample_is_the_one_given_or_stands_beside_the_csv_of_the_tiles(sample: Path, tmp_path: Path) -> None:
    images, out = tmp_path / "test.csv", Path("submission.csv")
    assert find_sample(images, out, None) == sample
    assert find_sample(images, out, Path("other.csv")) == Path("other.csv")
    assert find_sample(images, Path("out.h5ad"), None) is None
    assert find_sample(tmp_path, out, None) is None
    assert find_sample(None, out, None) is None
    assert find_sample(tmp_path / "elsewhere" / "test.csv", out, None) is None
    with pytest.raises(DataError, match=r"expected a name ending in \.csv beside --sample"):
        find_sample(images, Path("out.h5ad"), sample)


def test_a_submission_of_the_contests_size_is_written_in_seconds(tmp_path: Path) -> None:
    import time

    ids, genes = [f"TEST_{row:04d}" for row in range(500)], [f"G{gene}" for gene in range(3467)]
    zeros = ",0" * len(genes)
    (tmp_path / "sample.csv").write_text("\n".join([",".join(["ID", *genes]), *(f"{id}{zeros}" for id in ids)]))
    values = np.random.default_rng(0).normal(size=(500, 3467)).astype(np.float32)
    began = time.process_time()
    Submission.of(tmp_path / "sample.csv", ids, genes).write(values, tmp_path / "out.csv")
    assert time.process_time() - began < 10
