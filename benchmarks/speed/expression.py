"""Random reads of measured expression: Zarr shards, Lance and Parquet, beside the mapped files of one machine, in one run.

    pip install --target lance pylance            # elsewhere than in bleep's environment
    PYTHONPATH=lance python benchmarks/speed/expression.py [--spots 100000] [--genes 2000] [--out benchmarks/results]

Values are drawn like log counts, a third other than zero, float32. 2,000 queries ask for 50 rows each: at random, which is the
worst there can be, and nearby, each query's 50 among 200 rows that follow one another, as neighbours often are of few sections.
Read are the rows that are not the same, 64 MB of values at a time, into one array a time, as a prediction does. Each store is
opened anew for each way of asking. Zarr is written and read by bleep's own code, with blocks of several sizes; Parquet with a
list of fixed size a row, 1,000 rows a group and an index of pages; Lance with its defaults. Files lie on this machine's disk
and mostly in its memory, so what is compared is the work of finding and decoding, not a disk or a network.
"""

import argparse
import importlib.util
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from bleep.files import write_json, write_text
from bleep.retrieval.reference import expression_remote
from bleep.retrieval.reference.expression_store import DenseExpression
from bleep.retrieval.reference.expression_writer import open_expression, write_expression

QUERIES, K = 2000, 50
AT_ONCE = 2**26
Reader = Callable[[np.ndarray], np.ndarray]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--spots", type=int, default=100_000)
    parser.add_argument("--genes", type=int, default=2000)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    arguments = parser.parse_args()
    rng = np.random.default_rng(0)
    values = np.empty((arguments.spots, arguments.genes), np.float32)
    for start in range(0, len(values), 4096):
        part = values[start : start + 4096]
        part[:] = np.log1p(rng.poisson(0.4, part.shape) * rng.lognormal(3, 0.3, (len(part), 1)))
    firsts = rng.integers(0, len(values) - 200, QUERIES)
    asked = {
        "random": rng.integers(0, len(values), (QUERIES, K)),
        "nearby": np.stack([first + rng.choice(200, K, replace=False) for first in firsts]),
    }
    found: list[dict[str, Any]] = []
    ways: dict[str, Callable[[np.ndarray, Path], Callable[[], Reader]]] = {
        "mapped file": mapped,
        **{f"Zarr, blocks of {block // 1024} KB": zarr_of(block) for block in (2**13, 2**15, 2**17, 2**19)},
        "Parquet": parquet,
    }
    if importlib.util.find_spec("lance"):
        ways["Lance"] = lance
    for name, way in ways.items():
        with tempfile.TemporaryDirectory() as folder:
            began = time.perf_counter()
            opened = way(values, Path(folder))
            facts: dict[str, Any] = {"store": name, "write_seconds": time.perf_counter() - began}
            facts["share"] = sum(path.stat().st_size for path in Path(folder).rglob("*") if path.is_file()) / values.nbytes
            for kind, rows in asked.items():
                facts[kind] = read(opened(), rows, values)
            found.append({**facts, "load": os.getloadavg()[0]})
            report(found, arguments)


def read(reader: Reader, rows: np.ndarray, values: np.ndarray) -> float:
    """Return the seconds that reading all rows takes."""
    wanted, step = np.unique(rows), AT_ONCE // (4 * values.shape[1])
    began = time.perf_counter()
    for start in range(0, len(wanted), step):
        part = wanted[start : start + step]
        found = reader(part)
        assert np.array_equal(found[-1], values[part[-1]])
    return time.perf_counter() - began


def mapped(values: np.ndarray, folder: Path) -> Callable[[], Reader]:
    write_expression(DenseExpression(values), folder, "x")
    return lambda: open_expression(folder, "x", values.shape[1]).rows


def zarr_of(block: int) -> Callable[[np.ndarray, Path], Callable[[], Reader]]:
    def way(values: np.ndarray, folder: Path) -> Callable[[], Reader]:
        expression_remote.BLOCK = block
        write_expression(DenseExpression(values), folder, "x", str(folder / "far"))
        return lambda: open_expression(folder, "x", values.shape[1]).rows

    return way


def table_of(values: np.ndarray) -> pa.Schema:
    return pa.schema([("values", pa.list_(pa.float32(), values.shape[1]))])


def batches(values: np.ndarray) -> Iterator[pa.RecordBatch]:
    for start in range(0, len(values), 1000):
        flat = pa.array(values[start : start + 1000].ravel())
        yield pa.record_batch([pa.FixedSizeListArray.from_arrays(flat, values.shape[1])], schema=table_of(values))


def parquet(values: np.ndarray, folder: Path) -> Callable[[], Reader]:
    with pq.ParquetWriter(folder / "x.parquet", table_of(values), compression="zstd", write_page_index=True) as writer:
        for batch in batches(values):
            writer.write_batch(batch)

    def opened() -> Reader:
        data = ds.dataset(folder / "x.parquet")
        return lambda rows: flat(data.take(pa.array(rows)), values.shape[1])

    return opened


def lance(values: np.ndarray, folder: Path) -> Callable[[], Reader]:
    import lance as library

    reader = pa.RecordBatchReader.from_batches(table_of(values), batches(values))
    library.write_dataset(reader, str(folder / "x.lance"))

    def opened() -> Reader:
        data = library.dataset(str(folder / "x.lance"))
        return lambda rows: flat(data.take(rows.tolist()), values.shape[1])

    return opened


def flat(table: pa.Table, genes: int) -> np.ndarray:
    return table["values"].combine_chunks().flatten().to_numpy().reshape(-1, genes)


def report(found: list[dict[str, Any]], arguments: argparse.Namespace) -> None:
    lines = [
        "# Expression read at random",
        "",
        f"`python benchmarks/speed/expression.py --spots {arguments.spots} --genes {arguments.genes}`, {os.cpu_count()} cores. "
        f"{QUERIES:,} queries x {K} rows x {arguments.genes:,} genes, float32; a file's share is of its values' own bytes.",
        "",
        "| store | writing, s | share | random rows, s | nearby rows, s | load |",
        "| --- | --- | --- | --- | --- | --- |",
        *(
            f"| {each['store']} | {each['write_seconds']:.1f} | {each['share']:.2f} | {each['random']:.1f} "
            f"| {each['nearby']:.1f} | {each['load']:.1f} |"
            for each in found
        ),
    ]
    print(lines[-1], flush=True)
    write_text(arguments.out / "expression.md", "\n".join([*lines, ""]))
    write_json(arguments.out / "expression.json", {"spots": arguments.spots, "genes": arguments.genes, "found": found})


if __name__ == "__main__":
    main()
