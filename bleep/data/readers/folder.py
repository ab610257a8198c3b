"""The contest form: a CSV with `ID, path, GENE...` and a folder of tiles; or a bare folder of tiles, to be predicted.

`path` is relative to the CSV. Columns `section` and `patient`, where there are any, say where a tile is from; without
them a CSV is one section. A CSV with no further column has nothing measured and can only be queried.
"""

import logging
import re
from pathlib import Path

import numpy as np
import pandas as pd
from anndata import AnnData

from bleep.config import DataConfig
from bleep.data.gene_names import genes_among
from bleep.data.readers import chosen_names
from bleep.data.readers.tables import Measured, noted, numeric, read_table, sparse_counts, usable
from bleep.data.section import Section
from bleep.data.slides import MosaicSlide
from bleep.errors import DataError
from bleep.find import inside, visible

WORDS = ("ID", "path", "section", "patient")
"""Columns that are not genes."""
WHENCE = ("section", "patient")
"""Columns that say where a tile is from; spaces around their words do not count."""
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
"""What no name may hold: each is written into tables, and into sentences of one line."""
SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff")
"""Files of a bare folder that are taken for tiles."""

log = logging.getLogger(__name__)


def read(data: DataConfig) -> tuple[Section, ...]:
    """Read one CSV, every CSV of a folder, or a folder of tiles; without `data.mpp` a pixel counts as one micron."""
    if data.root.is_dir():
        tables = visible(data.root, "*.csv")
        found = [part for path in tables for part in _read_csv(path, data)] if tables else [_read_bare(data.root, data)]
    else:
        found = _read_csv(data.root, data)
    by_name = {section.name: section for section in found}
    if len(by_name) < len(found):
        raise DataError(f"{data.root}: two CSV files name the same section; point data.root at the one CSV to read")
    return tuple(by_name[name] for name in chosen_names(list(by_name), data))


def _read_csv(path: Path, data: DataConfig) -> list[Section]:
    table = read_table(path, ",", ("ID", "path"), dtype=dict.fromkeys(WORDS, str))
    for word in (word for word in WORDS if word in table):
        if word in WHENCE:
            table[word] = table[word].str.strip()
        missing = table[word].isna() | (table[word] == "")
        if missing.any():
            row = int(np.argmax(missing)) + 2
            raise DataError(f"{path}: line {row} has no {word}; expected one on every line")
        # Not by pandas' own search, which in 3.0 knows no \u in a pattern.
        odd = [CONTROL.search(cell) is not None for cell in table[word]]
        if any(odd):
            cell = table[word].iloc[odd.index(True)][:40]
            raise DataError(f"{path}: {word} {cell!r} holds a line break or another control character; write it without")
    twice = table["ID"][table["ID"].duplicated()]
    if len(twice):
        raise DataError(f"{path}: ID {twice.iloc[0]!r} stands more than once; each must stand once")
    # Not put into the table: a column more in one of thousands is slow.
    sections = table["section"] if "section" in table else pd.Series(path.stem, table.index)
    genes = [column for column in table.columns if column not in WORDS]
    genes = [*genes_among([gene for gene in genes if not gene.startswith("Unnamed: ")], path), *_nameless(genes)]
    nameless = next(iter(_nameless(genes)), None)
    if nameless is not None:
        place = int(nameless.removeprefix("Unnamed: ")) + 1
        raise DataError(f"{path}: column {place} has no name; name its gene, or leave it out (in pandas: index=False)")
    numeric(table[genes], path)
    return [_section(str(name), part, genes, path, data) for name, part in table.groupby(sections, sort=False)]


def _nameless(columns: list[str]) -> list[str]:
    return [column for column in columns if column.startswith("Unnamed: ")]


def _read_bare(root: Path, data: DataConfig) -> Section:
    paths = [path for path in inside(root) if path.suffix.lower() in SUFFIXES]
    if not paths:
        raise DataError(f"{root}: holds neither a CSV nor tiles ({', '.join(SUFFIXES)}); expected one of them")
    table = pd.DataFrame({"ID": [path.stem for path in paths], "path": [path.name for path in paths]})
    twice = table["ID"][table["ID"].duplicated()]
    if len(twice):
        raise DataError(f"{root}: two tiles are called {twice.iloc[0]!r}; each name must stand once")
    return _section(root.resolve().name, table, [], root / "tiles", data)


def _section(name: str, table: pd.DataFrame, genes: list[str], file: Path, data: DataConfig) -> Section:
    """Return a section of a table; its tiles are seen from beside `file`."""
    slide = MosaicSlide.open(tuple(file.parent / path for path in table["path"]))
    if data.mpp is None:
        log.info("section %s: no data.mpp given: a pixel of its %d-pixel tiles counts as one micron", name, slide.side)
    named = pd.DataFrame(index=pd.Index(genes, dtype=str))
    found = usable(name, Measured(pd.Index(table["ID"].to_numpy(str)), named, sparse_counts(table[genes])), file)
    counts = AnnData(X=found.matrix, obs=pd.DataFrame(index=found.spots), var=found.genes, uns={"bleep": noted(found)})
    patients = list(table["patient"].unique()) if "patient" in table else [name]
    if len(patients) > 1:
        raise DataError(f"section {name!r} stands under patient {patients[0]!r} and {patients[1]!r}; name one for each section")
    return Section(
        name=name,
        patient=data.patients.get(name, str(patients[0])),
        species=data.species,
        slide=slide,
        counts=counts,
        xy=slide.centres(),
        mpp=data.mpp or 1.0,
    )
