#!/usr/bin/env bash
# In mussel-pathology a slide converted with .25 um a pixel says of itself that it has .025.
#
# One would expect: `AnyToTiffConverter.process_file(slide, mpp=0.25)` writes a pyramidal TIFF whose resolution says .25 um a pixel, 40000 pixels a
# centimetre, and with `zoom=0.5` .5 um.
# What happens: pixels a centimetre are handed to libvips, which takes pixels a millimetre, whatever unit the file is to have, and multiplies them by
# ten. The file says 400000 pixels a centimetre: tifffile, tiffslide and the converter's own look at it read .025 um. All resolutions are ten times
# too fine, so 1 um is that of a magnification of 100, and areas of tissue are a hundredth.
# Way out: give ten times the resolution, `mpp=2.5` for .25, or write the tag anew.
# Versions: mussel-pathology 1.5.0, the newest in November 2026, with pyvips 3.2.0 and libvips 8.18; seen on 2026-12-01. No report of it was found
# upstream; the same was reported of the converter of another package, TRIDENT (its issue 135, 2025).
# Why it matters: what a tile of 224 pixels at .5 um is, is decided by this number in this package and in all others that read the slide.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check --no-compile \
  numpy==2.3.5 pandas==2.3.3 Pillow==11.3.0 tqdm==4.70.1 tifffile==2026.3.3 tiffslide==3.0.1 pyvips==3.2.0 pyvips-binary==8.18.7
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check --no-deps mussel-pathology==1.5.0
cd "$folder"
export OMP_NUM_THREADS=1 VIPS_CONCURRENCY=1
"$folder/venv/bin/python" -I -W ignore - <<'PY'
import logging
from importlib.metadata import distribution, version
from importlib.util import module_from_spec, spec_from_file_location
from tempfile import TemporaryDirectory

import numpy as np
import pyvips
import tifffile
import tiffslide
from PIL import Image

logging.disable(logging.CRITICAL)
path = distribution("mussel-pathology").locate_file("mussel/utils/converter.py")
spec = spec_from_file_location("converter", path)
converter = module_from_spec(spec)
spec.loader.exec_module(converter)
print(*(f"{name} {version(name)}" for name in ("mussel-pathology", "pyvips", "tiffslide")))
print("libvips", pyvips.version(0), pyvips.version(1))
pixels = np.random.default_rng(0).integers(0, 255, (1024, 1536, 3), dtype=np.uint8)


def written(mpp, zoom):
    """The resolution that a converted picture says it has, in um a pixel, by three readers, and its width."""
    with TemporaryDirectory() as folder:
        Image.fromarray(pixels).save(f"{folder}/slide.png")
        made = converter.AnyToTiffConverter(f"{folder}/out")
        made.process_file(f"{folder}/slide.png", mpp=mpp, zoom=zoom)
        name = f"{folder}/out/slide.tiff"
        with tifffile.TiffFile(name) as file:
            above, below = file.pages[0].tags["XResolution"].value
            assert file.pages[0].tags["ResolutionUnit"].value == 3
            width = file.pages[0].shape[1]
        with tiffslide.TiffSlide(name) as slide:
            other = slide.properties["tiffslide.mpp-x"]
        return 1e4 * below / above, float(other), made._detect_embedded_mpp(name), width


for mpp, zoom in ((0.25, 1.0), (0.5, 1.0), (1.0, 1.0), (0.25, 0.5)):
    *seen, width = written(mpp, zoom)
    guess = mpp / zoom
    print(
        f"mpp={mpp}, zoom={zoom}, {width} pixels wide: guess {guess} um a pixel, seen {seen[0]:.3f} by tifffile, "
        f"{seen[1]:.3f} by tiffslide, {seen[2]:.3f} by itself"
    )
    assert width == 1536 * zoom and np.allclose(seen, guess / 10, rtol=1e-6)
    *mended, _ = written(10 * mpp, zoom)
    assert np.allclose(mended, guess, rtol=1e-6)
print(f"a section of {1536 * 0.25 / 1000:.3f} mm is then {1536 * written(0.25, 1.0)[0] / 1000:.4f} mm wide")
print("as found")
PY
