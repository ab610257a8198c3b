"""`bleep data features`: the features of a recipe's trunk, written as TRIDENT does."""

import argparse
from pathlib import Path
from typing import Any

from bleep.cli.flags import add_settings, load_settings


def add(actions: Any) -> None:
    """Add the action."""
    features = actions.add_parser(
        "features", help="write a trunk's features of each section as .h5, for other programs", allow_abbrev=False
    )
    features.add_argument("--to", type=Path, required=True, metavar="FOLDER", help="folder of the SECTION.h5 files")
    features.add_argument("--overwrite", action="store_true", help="replace files of these names that bleep did not write")
    add_settings(features)
    features.set_defaults(run_command=_features)


def _features(arguments: argparse.Namespace) -> int:
    config = load_settings(arguments)
    from bleep.workflows.features import features

    for path, spots, width in features(config, arguments.to, overwrite=arguments.overwrite):
        print(f"{path}: {spots} spots, {width} features")
    print(f"next: train with --image.trunk features --data.features {arguments.to}")
    return 0
