"""Flags that say how files are read which were not there in training: the settings of `data` that are about files."""

import argparse
from collections.abc import Iterable
from typing import Any

from bleep.cli import overrides
from bleep.errors import ConfigError

HELP = {
    "source": "the form they have (default: the run's, else as found)",
    "sections": "which sections (default: all)",
    "image_scale": "at which of Space Ranger's scales the picture is: full, hires or lowres",
    "alignment": "Xenium: CSV of the matrix from the picture's pixels to Xenium's",
    "layer": "AnnData: layer that holds the counts",
    "raw": "AnnData: true takes the values from raw",
    "bin": "Visium HD: side of the bins in microns",
    "element": "SpatialData: its image, {region} standing for the region's name",
    "table": "SpatialData: its table",
    "system": "SpatialData: the coordinate system in which image and spots meet",
    "mpp": "microns per pixel, where the files do not say it",
    "options": "what a reader of another package asks for, as NAME=VALUE,NAME=VALUE",
}
"""What each is; here, so that `--help` does not load the settings."""


def add(parser: argparse.ArgumentParser, but: Iterable[str] = ()) -> None:
    """Add a flag for each setting, but some."""
    group = parser.add_argument_group("how the files of --images are read, where the run's settings for it do not suit them")
    for name, text in HELP.items():
        if name not in but:
            many: dict[str, Any] = {"nargs": "+", "action": "extend"} if name == "sections" else {}
            group.add_argument(f"--data.{name}", dest=f"set:data.{name}", metavar="X", help=text, default=None, **many)


def given(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the settings of `data` that were given."""
    return dict(overrides(arguments).get("data", {}))


def check(arguments: argparse.Namespace) -> None:
    """Refuse them beside whole slides.

    Raises:
        ConfigError: naming the flag.

    """
    for name in given(arguments) if arguments.slides else ():
        raise ConfigError(f"--data.{name}: belongs to --images, and --slides was given; a slide is its own form")


def flags() -> dict[str, str]:
    """Return the flag of each setting, for `by_flags`."""
    return {f"data.{name}": f"--data.{name}" for name in HELP}
