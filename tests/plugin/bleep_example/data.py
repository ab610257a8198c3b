"""A reader: sections from whatever files there are."""

import anndata
import numpy as np
import pandas as pd

from bleep import DataError, Section
from bleep.config import DataConfig
from bleep.data.slides import ArraySlide

SIDE, PITCH = 192, 24


def read(data: DataConfig) -> list[Section]:
    """Read one section from each .npy file in `data.root`: rows are spots, and the first gene is how dark the picture is."""
    paths = sorted(data.root.glob("*.npy"))
    if not paths:
        raise DataError(f"{data.root}: holds no .npy file; expected one for each section")
    return [_section(path.stem, np.load(path), data) for path in paths]


def _section(name: str, counts: np.ndarray, data: DataConfig) -> Section:
    grid = np.arange(PITCH / 2, SIDE, PITCH)
    xy = np.stack(np.meshgrid(grid, grid), axis=-1).reshape(-1, 2)
    if len(counts) != len(xy):
        raise DataError(f"section {name}: has {len(counts)} rows of counts; expected {len(xy)}")
    brightness = np.kron(counts[:, 0].reshape(len(grid), -1), np.ones((PITCH, PITCH)))
    picture = np.repeat((255 - brightness)[..., None], 3, axis=-1).clip(0, 255).astype(np.uint8)
    genes = [f"{data.options.get('prefix', 'G')}{number}" for number in range(counts.shape[1])]
    table = anndata.AnnData(
        X=counts.astype(np.float32),
        obs=pd.DataFrame(index=[f"s{row}" for row in range(len(counts))]),
        var=pd.DataFrame(index=genes),
    )
    return Section(name, data.patients.get(name, name), data.species, ArraySlide(picture), table, xy, data.mpp or 1.0)
