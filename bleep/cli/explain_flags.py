"""The flags of `bleep query` that ask for explanations, and what becomes of them."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from bleep.cli.flags import MANY
from bleep.errors import ConfigError

if TYPE_CHECKING:
    import numpy as np

    from bleep.data.prediction import Prediction
    from bleep.data.tiles import Tiles
    from bleep.retrieval.reference import Reference
    from bleep.runs import Run


def add(parser: argparse.ArgumentParser) -> None:
    """Add the flags."""
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--explain", type=int, default=None, metavar="N", help="draw the neighbours of N tiles, evenly spread")
    which.add_argument("--explain-tiles", **MANY, metavar="ID", help="draw the neighbours of these tiles, named section/spot")
    parser.add_argument(
        "--explain-out", type=Path, default=None, help="folder of the drawings (default: --out with .explained in its name)"
    )


def check(arguments: argparse.Namespace) -> None:
    """Refuse flags that make no sense, before anything is read.

    Raises:
        ConfigError: the number is not above 0, or a folder was named and nothing to draw.

    """
    if arguments.explain is not None and arguments.explain < 1:
        raise ConfigError(f"--explain {arguments.explain}: expected a number of tiles, at least 1")
    if arguments.explain_out is not None and not asked(arguments):
        raise ConfigError(
            f"--explain-out {arguments.explain_out}: says where, but not what; add --explain N or --explain-tiles"
        )


def rows_to_explain(arguments: argparse.Namespace, tiles: "Tiles", reference: "Reference | None") -> "np.ndarray | None":
    """Return the rows of the tiles that shall be explained, or none; to be asked before tiles are predicted.

    Raises:
        ConfigError: a tile of that name is not there.
        DataError, MismatchError: see `bleep.workflows.explain.check_explaining`.

    """
    if not asked(arguments):
        return None
    from bleep.workflows import explain as explaining

    explaining.check_explaining(_folder(arguments), reference)
    if arguments.explain is None:
        return explaining.named_rows(tiles, arguments.explain_tiles)
    return explaining.spread_rows(tiles, arguments.explain)


def explain(
    arguments: argparse.Namespace,
    run: "Run",
    prediction: "Prediction",
    reference: "Reference | None",
    tiles: "Tiles",
    rows: "np.ndarray | None",
) -> None:
    """Draw and write the explanations that were asked for."""
    if rows is None or reference is None:
        return
    from bleep.workflows import explain as explaining

    folder = _folder(arguments)
    explaining.save_explanations(explaining.explain(run, prediction, reference, tiles, rows), folder)
    print(f"{folder}: the neighbours of {len(rows)} tiles, drawn, and in {explaining.NEIGHBORS} and {explaining.GENES}")


def asked(arguments: argparse.Namespace) -> bool:
    """Return whether explanations are asked for."""
    return arguments.explain is not None or bool(arguments.explain_tiles)


def _folder(arguments: argparse.Namespace) -> Path:
    out: Path = arguments.out
    return arguments.explain_out or out.with_suffix(".explained")
