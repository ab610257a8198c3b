"""Whatever a file holds, a reader answers with tissue, settings, or one sentence: bytes drawn freely, and damaged files."""

import argparse
import gzip
import runpy
import shutil
import tempfile
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from scipy import sparse

from bleep.cli import add_settings, load_settings
from bleep.config import Config, DataConfig, describe_fields
from bleep.config.base import merged
from bleep.data.readers import read_sections, spaceranger, tables
from bleep.data.slides import save_png
from bleep.data.toy import toy_section, write_st2k
from bleep.errors import BleepError, ConfigError

pytestmark = pytest.mark.slow

FILES = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("spaceranger_files.py"))))
TOY = toy_section("toy", "donor", 3, side=128)
THOROUGH = settings(max_examples=2000, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))

NUMBERS = [
    "", "0", "-1", "2.5", "1e400", "1e308", "-inf", "nan", "9" * 25, "1_0", " 1 ", "0x1F", "1,5", "١", "True",
]  # fmt: skip
NAMES = [
    "NA", "None", "False", '"', '"a', "''", "#", "\t", "\r", "\x00", "\ufeff", "é", "toy", "t0.png", "gone.png", ".",
]  # fmt: skip
CELLS = st.one_of(
    st.sampled_from(NUMBERS),
    st.sampled_from(NAMES),
    st.integers(-5, 300).map(str),
    st.text(max_size=4),
)

LIKELY = st.text('0123456789.,-eE\t\n" ab:', max_size=5).map(str.encode)
"""What tables and recipes are mostly made of."""


@st.composite
def damaged(draw: st.DrawFn, whole: bytes) -> bytes:
    """A file with some bytes cut out, put in, doubled or changed."""
    content = bytearray(whole)
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(content)))
        stop = min(len(content), start + draw(st.integers(0, 40)))
        match draw(st.sampled_from(["cut", "put", "double", "change", "end"])):
            case "cut":
                del content[start:stop]
            case "put":
                content[start:start] = draw(st.one_of(LIKELY, CELLS.map(_encoded), st.binary(max_size=6)))
            case "double":
                content[start:start] = content[start:stop]
            case "change":
                content[start:stop] = draw(st.one_of(LIKELY, st.binary(max_size=stop - start)))
            case _:
                del content[stop:]
    return bytes(content)


@st.composite
def grids(draw: st.DrawFn, columns: tuple[str, ...], separator: str) -> bytes:
    """A table under a header that has most of these columns, its cells drawn from what tables trip over."""
    header = draw(st.lists(st.one_of(st.sampled_from(columns), CELLS), max_size=9)) if draw(st.booleans()) else list(columns)
    rows = [draw(st.lists(CELLS, max_size=len(header) + 1)) for _ in range(draw(st.integers(0, 4)))]
    return _encoded("\n".join(separator.join(row) for row in [header, *rows]))


@st.composite
def spoiled(draw: st.DrawFn, whole: bytes, separator: str) -> bytes:
    """A table of which a few cells, or a whole column, hold something else, or a cell too many."""
    rows = [line.split(separator) for line in whole.decode().splitlines()]
    for _ in range(draw(st.integers(1, 3))):
        row, column = draw(st.integers(0, len(rows) - 1)), draw(st.integers(0, len(rows[0])))
        match draw(st.sampled_from(["cell", "cell", "column", "more", "less", "row"])):
            case "cell":
                rows[row][column % len(rows[row])] = draw(CELLS)
            case "column":
                cell = draw(CELLS)
                rows = [rows[0], *([*line[:column], cell, *line[column + 1 :]] for line in rows[1:])]
            case "more":
                rows = (
                    [[*line, draw(CELLS)] for line in rows] if draw(st.booleans()) else [rows[0], *([*r, ""] for r in rows[1:])]
                )
            case "less":
                rows = [line[:column] + line[column + 1 :] or [""] for line in rows]
            case _:
                rows.append(rows[row])
    return _encoded("\n".join(separator.join(line) for line in rows))


def contents(whole: bytes, columns: tuple[str, ...], separator: str = ",") -> st.SearchStrategy[bytes]:
    drawn = (st.binary(max_size=200), st.text(max_size=100).map(_encoded))
    return st.one_of(spoiled(whole, separator), spoiled(whole, separator), damaged(whole), grids(columns, separator), *drawn)


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "replace")


def one_sentence(read: Callable[[], Any]) -> Any:
    """Return what was read; where it cannot be, the error must be ours, and one line of readable length."""
    try:
        return read()
    except BleepError as error:
        said = str(error)
        assert said.strip()
        assert len(said.splitlines()) == 1, said
        assert len(said) < 1500, said
        return None


@pytest.fixture(scope="module")
def root() -> Iterator[Path]:
    """A folder in memory where there is one: some twenty thousand small files are written."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder:
        yield Path(folder)


def positions_of_toy(root: Path, name: str) -> bytes:
    """Return a whole table of positions, written once."""
    path = root / "whole" / name
    if not path.exists():
        path.parent.mkdir(exist_ok=True)
        FILES.write_positions(TOY, path)
    return path.read_bytes()


CSV = b"ID,path,section,patient,GENE1,GENE2\na,t0.png,one,p,1,0\nb,t1.png,one,p,0,3\nc,t0.png,two,p,2,2.5\n"


@THOROUGH
@example(content=CSV.replace(b"2.5", b"1e308"))
@example(content=CSV.replace(b"2.5", b"9" * 30))
@example(content=CSV.replace(b"GENE1", b""))
@example(content=b"\x0b" + CSV)
@example(content=CSV.replace(b"t1.png", b"\x0c"))
@given(content=contents(CSV, ("ID", "path", "section", "patient", "GENE1")))
def test_a_csv_of_tiles(content: bytes, root: Path) -> None:
    for name in ("t0.png", "t1.png"):
        if not (root / name).exists():
            save_png(np.zeros((4, 4, 3), np.uint8), root / name)
    (root / "tiles.csv").write_bytes(content)
    data = DataConfig(source="folder", root=root / "tiles.csv")
    for section in one_sentence(lambda: read_sections(data)) or ():
        assert len(section) > 0


@THOROUGH
@given(content=contents(b"a,b,c\n1,2,3\nx,y,z\n", ("a", "b", "c")), packed=st.booleans())
def test_tables_with_and_without_a_header(content: bytes, packed: bool, root: Path) -> None:
    path = root / ("table.csv.gz" if packed else "table.csv")
    path.write_bytes(gzip.compress(content, 1) if packed else content)
    table = one_sentence(lambda: tables.read_table(path, ",", ("a", "b")))
    assert table is None or {"a", "b"} <= set(table.columns)
    table = one_sentence(lambda: tables.read_headless(path, ",", ("a", "b"), ("c",)))
    assert table is None or list(table.columns)[:2] == ["a", "b"]


@settings(THOROUGH, max_examples=800)
@given(content=damaged(gzip.compress(b"\ta\tb\n1x1\t1\t2\n1x2\t0\t4\n", mtime=0)))
def test_packed_counts(content: bytes, root: Path) -> None:
    (root / "counts.tsv.gz").write_bytes(content)
    one_sentence(lambda: tables.read_counts(root / "counts.tsv.gz"))


@settings(THOROUGH, max_examples=800)
@given(drawn=st.data())
def test_matrices_of_counts(drawn: st.DataObject, root: Path) -> None:
    folder = root / "mtx"
    if not folder.exists():
        FILES.write_mtx(TOY, folder)
        shutil.copytree(folder, root / "whole_mtx")
    name = drawn.draw(st.sampled_from(["matrix.mtx", "matrix.mtx", "features.tsv", "barcodes.tsv"]))
    whole = (root / "whole_mtx" / name).read_bytes()
    (folder / name).write_bytes(drawn.draw(damaged(whole)))
    try:
        files = [folder / other for other in ("matrix.mtx", "features.tsv", "barcodes.tsv")]
        counts = one_sentence(lambda: spaceranger.read_mtx(*files))
        assert counts is None or counts.matrix.shape == (len(counts.spots), len(counts.genes))
    finally:
        (folder / name).write_bytes(whole)


COUNTS = tables.Measured(
    pd.Index([str(name) for name in TOY.counts.obs_names]), pd.DataFrame(index=["A"]), sparse.csr_matrix(np.ones((len(TOY), 1)))
)


def places(path: Path) -> None:
    """Read positions as the readers of Visium and of the liver do."""
    table = spaceranger.read_positions(path)
    under = spaceranger.under_tissue(table, path)
    assert np.isfinite(under.to_numpy()).all()
    _, xy = tables.joined("toy", COUNTS, under)
    assert xy.shape[1] == 2
    assert spaceranger.full_mpp("toy", table) > 0


POSITIONS = ["tissue_positions.csv", "tissue_positions_list.csv"]


@pytest.mark.parametrize("name", POSITIONS)
@THOROUGH
@given(drawn=st.data())
def test_positions_of_visium_as_text(drawn: st.DataObject, name: str, root: Path) -> None:
    (root / name).write_bytes(drawn.draw(contents(positions_of_toy(root, name), FILES.COLUMNS)))
    one_sentence(lambda: places(root / name))


COLUMN = st.one_of(
    st.lists(st.integers(-2, 300), min_size=3, max_size=3),
    st.lists(st.one_of(st.floats(), st.none()), min_size=3, max_size=3),
    st.lists(st.one_of(st.text(max_size=4), st.none()), min_size=3, max_size=3),
    st.lists(st.booleans(), min_size=3, max_size=3),
    st.lists(st.binary(max_size=3), min_size=3, max_size=3),
    st.lists(st.lists(st.integers(0, 3), max_size=2), min_size=3, max_size=3),
    st.lists(st.datetimes(), min_size=3, max_size=3),
    st.lists(st.decimals(-10, 10, places=2), min_size=3, max_size=3),
)


@THOROUGH
@given(drawn=st.data())
def test_positions_of_visium_as_parquet(drawn: st.DataObject, root: Path) -> None:
    path = root / "tissue_positions.parquet"
    if drawn.draw(st.booleans()):
        path.write_bytes(drawn.draw(st.one_of(damaged(positions_of_toy(root, path.name)), st.binary(max_size=100))))
    else:
        names = drawn.draw(st.lists(st.sampled_from([*FILES.COLUMNS, "more"]), unique=True)) or FILES.COLUMNS
        table = {name: drawn.draw(COLUMN) for name in drawn.draw(st.sampled_from([tuple(names), FILES.COLUMNS]))}
        pd.DataFrame(table).to_parquet(path)
    one_sentence(lambda: places(path))


@THOROUGH
@given(drawn=st.data())
def test_alignment_tables(drawn: st.DataObject, root: Path) -> None:
    path = root / "st2k" / "toy" / "alignment_table_toy.tsv"
    if not path.exists():
        write_st2k([TOY], root / "st2k")
        (root / "whole.tsv").write_bytes(path.read_bytes())
    columns = ("x", "y", "new_x", "new_y", "pixel_x", "pixel_y", "selected")
    path.write_bytes(drawn.draw(contents((root / "whole.tsv").read_bytes(), columns, "\t")))
    data = DataConfig(source="st2k", root=root / "st2k")
    for section in one_sentence(lambda: read_sections(data)) or ():
        assert len(section) > 0


FIELDS = [name for name, *_ in describe_fields()]
ODD = [
    "", "none", "true", "0", "-1", "1e3", ".inf", "nan", "1:30", "0b", "0x_", "2001-99-99", "[", "{", "&a", "*a", "- ", "a=b",
    "a=b,c", "!!int x", "!!bool maybe", "!!timestamp x", "!!binary '@'", "!!set {a}", "<<: 3", "? [a]", "%", "'", '"\\ud800"',
    "\t", "\x00", "---", "...", "|", ">", "!", "@", "`", "log1p", "toy", "9" * 5000, "0x" + "f" * 5000, "[" * 400, "{a: " * 400,
]  # fmt: skip
WORDS = st.one_of(
    st.sampled_from(ODD),
    st.integers(-3, 300).map(str),
    st.floats().map(str),
    st.text(max_size=6),
)
LEAVES = st.one_of(
    st.sampled_from([None, True, 0, -1, 3, 2**70, 1.5, float("nan"), float("inf"), "", "toy", b"x", date(2020, 1, 1)]),
    st.text(max_size=6),
)
BRANCHES = st.dictionaries(st.sampled_from(["a", "b", "lr", 1]), LEAVES, max_size=3)
VALUES = st.one_of(LEAVES, st.lists(LEAVES | BRANCHES, max_size=2), BRANCHES)


@st.composite
def recipes(draw: st.DrawFn) -> bytes:
    """A recipe of known settings, one a line or as a tree, with values of every kind."""
    if draw(st.booleans()):
        tree: dict[Any, Any] = {}
        for field in draw(st.lists(st.sampled_from(FIELDS), max_size=4)):
            *above, last = field.split(".")
            (tree.setdefault(above[0], {}) if above else tree)[last] = draw(VALUES)
        return _encoded(yaml.safe_dump(tree))
    lines = []
    for field in draw(st.lists(st.sampled_from(FIELDS), max_size=4)):
        *above, last = field.split(".")
        lines += [f"{above[0]}:", f"  {last}: {draw(WORDS)}"] if above else [f"{last}: {draw(WORDS)}"]
    return _encoded("\n".join(lines))


@pytest.fixture(scope="module")
def shipped(repository: Path) -> bytes:
    return (repository / "configs" / "visium-liver.yaml").read_bytes()


@THOROUGH
@given(drawn=st.data())
def test_recipes(drawn: st.DataObject, root: Path, shipped: bytes) -> None:
    path = root / "own.yaml"
    path.write_bytes(drawn.draw(st.one_of(recipes(), damaged(shipped), st.text(max_size=60).map(_encoded))))
    config = one_sentence(lambda: Config.load(path, path))
    if config is not None:
        path.write_text(yaml.safe_dump(config.dump()), encoding="utf-8")
        assert Config.load(path) == config


POINTING = "a0: &a0 [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]\n" + "".join(
    f"a{number + 1}: &a{number + 1} [{', '.join([f'*a{number}'] * 10)}]\n" for number in range(7)
)
"""Some lines of YAML that would be many millions if they were written out."""
VALUES_OF_NOTHING = ["2001-99-99", "!!int x", "!!bool maybe", "!!timestamp x", "!!float q", "0x_", "9" * 5000]


@pytest.mark.parametrize("value", VALUES_OF_NOTHING, ids=lambda value: value[:12])
def test_values_that_only_look_like_dates_or_numbers_are_refused(value: str, root: Path) -> None:
    (root / "own.yaml").write_text(f"seed: {value}")
    with pytest.raises(ConfigError, match=r"own\.yaml: holds a value that YAML cannot read"):
        Config.load(root / "own.yaml")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("data: &a {data: *a}", "a part holds itself"),
        ("data: " + "[" * 500, "nested far deeper"),
        (POINTING, "by pointing at itself"),
        ("optim: {lr: .inf}", r"optim\.lr: input should be a finite number"),
        ("seed: 4294967296", "seed: input should be less than 4294967296"),
        (f"optim: {{epochs: [0x{'f' * 5000}]}}", "but found a number of more digits than Python writes"),
        (f"optim: {{epochs: {'x' * 5000}}}", r"but found 'xxx.{100,130}xxx' \("),
        ('"data\\nroot": 1', "data root: unknown setting"),
    ],
)
def test_settings_that_broke_the_reader_are_refused(text: str, words: str, root: Path) -> None:
    (root / "own.yaml").write_text(text)
    with pytest.raises(ConfigError, match=words) as caught:
        Config.load(root / "own.yaml", root / "own.yaml")
    assert len(str(caught.value)) < 500
    assert len(str(caught.value).splitlines()) == 1


@pytest.fixture(scope="module")
def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(allow_abbrev=False)
    add_settings(parser)
    return parser


@THOROUGH
@given(flags=st.lists(st.tuples(st.sampled_from(FIELDS), WORDS), max_size=3))
@example(flags=[("data.options", "9" * 5000)])
@example(flags=[("data.patients", '"' + "9" * 5000)])
@example(flags=[("tiles.microns", "[" + "9" * 5000)])
def test_flags(flags: list[tuple[str, str]], parser: argparse.ArgumentParser) -> None:
    arguments = parser.parse_args([f"--{name}={value}" for name, value in flags])
    one_sentence(lambda: load_settings(arguments))


TREES = st.dictionaries(st.sampled_from(["data", "optim", "a", 1]), VALUES, max_size=4)


@THOROUGH
@given(base=TREES, over=TREES)
def test_trees_laid_over_one_another(base: dict[Any, Any], over: dict[Any, Any]) -> None:
    joined = merged(base, over)
    assert set(joined) == set(base) | set(over)
    for key, value in over.items():
        assert isinstance(value, dict) or repr(joined[key]) == repr(value)
    assert repr(merged(joined, over)) == repr(joined)
    assert repr(merged(base, {})) == repr(base)
