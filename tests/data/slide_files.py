"""Slide files as scanners and other software write them, written by tifffile and libvips; read by runpy, not imported."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from scipy.ndimage import gaussian_filter, zoom


def texture(width: int, height: int, seed: int = 0) -> np.ndarray:
    """A smooth picture in which every place looks different, so that a shift can be measured."""
    rng = np.random.default_rng(seed)
    coarse = rng.normal(size=(3, height // 12 + 3, width // 12 + 3))
    fine = np.stack([zoom(gaussian_filter(plane, 1.0), 12, order=3)[:height, :width] for plane in coarse], axis=-1)
    return np.clip(140 + 45 * fine / fine.std(), 0, 255).astype(np.uint8)


def halved(pixels: np.ndarray, factor: int) -> np.ndarray:
    """As most software makes a coarser level: means of whole squares, the odd last columns and rows dropped."""
    height, width = pixels.shape[0] // factor, pixels.shape[1] // factor
    whole = pixels[: height * factor, : width * factor].reshape(height, factor, width, factor, 3)
    return whole.mean(axis=(1, 3)).round().astype(np.uint8)


def squeezed(pixels: np.ndarray, factor: float) -> np.ndarray:
    """A coarser level of any ratio."""
    size = (round(pixels.shape[1] / factor), round(pixels.shape[0] / factor))
    return np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BOX))


def coarser(pixels: np.ndarray, factor: float) -> np.ndarray:
    return halved(pixels, factor) if isinstance(factor, int) else squeezed(pixels, factor)


def svs(
    path: Path, pixels: np.ndarray, mpp: float | None = 0.499, factors: Sequence[float] = (4, 16), power: int | None = 20,
    **options: Any,
) -> Path:  # fmt: skip
    """What an Aperio scanner writes: a tiled level, a thumbnail in strips, then coarser tiled levels."""
    import tifffile

    height, width = pixels.shape[:2]
    told = (f"|AppMag = {power}" if power is not None else "") + (f"|MPP = {mpp:.4f}" if mpp is not None else "")
    words = f"Aperio Image Library v11.2.1\r\n{width}x{height} [0,0 {width}x{height}] (256x256) JPEG/RGB Q=95{told}"
    common = {"photometric": "rgb", "metadata": None, "software": False, "compression": "deflate", **options}
    with tifffile.TiffWriter(path) as file:
        file.write(pixels, tile=(256, 256), description=words, subfiletype=0, **common)
        file.write(halved(pixels, 8), rowsperstrip=16, description="Aperio Image Library v11.2.1\r\n thumbnail", **common)
        for factor in factors:
            file.write(coarser(pixels, factor), tile=(256, 256), description=words, subfiletype=0, **common)
    return path


def jpeg_svs(path: Path, pixels: np.ndarray) -> Path:
    """The same, JPEG inside, as it usually is."""
    return svs(path, pixels, compression="jpeg", compressionargs={"level": 95})


def ome(path: Path, pixels: np.ndarray, x: float | None = 0.5, y: float | None = 0.5, unit: str = "µm") -> Path:
    """OME-TIFF with its coarser levels in SubIFDs."""
    import tifffile

    told = {"PhysicalSizeX": x, "PhysicalSizeXUnit": unit, "PhysicalSizeY": y, "PhysicalSizeYUnit": unit} if x else {}
    common: dict[str, Any] = {"photometric": "rgb", "tile": (256, 256), "compression": "deflate"}
    with tifffile.TiffWriter(path, bigtiff=True) as file:
        file.write(pixels, subifds=2, metadata={"axes": "YXS", **told}, **common)
        for factor in (2, 4):
            file.write(halved(pixels, factor), subfiletype=1, metadata=None, **common)
    return path


def pages(path: Path, pixels: np.ndarray, factors: Sequence[int] = (2, 4), **options: Any) -> Path:
    """Plain tiled TIFF by tifffile, a page a level."""
    import tifffile

    common = {"photometric": "rgb", "tile": (256, 256), "compression": "deflate", "metadata": None, **options}
    with tifffile.TiffWriter(path) as file:
        file.write(pixels, subfiletype=0, **common)
        for factor in factors:
            file.write(halved(pixels, factor), subfiletype=1, **common)
    return path


def vips(path: Path, pixels: np.ndarray, per_mm: float = 2000.0, **options: Any) -> Path:
    """Tiled pyramidal TIFF by libvips, which halves from level to level."""
    import pyvips

    common = {"tile": True, "pyramid": True, "compression": "deflate", "tile_width": 256, "tile_height": 256, **options}
    image = pyvips.Image.new_from_array(pixels).copy(interpretation="srgb", xres=per_mm, yres=per_mm)
    image.tiffsave(str(path), **common)
    return path
