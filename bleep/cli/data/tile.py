"""`bleep data tile`: keep the tiles of a recipe on disk, as they are cut."""

import argparse
from typing import Any

from bleep.cli.flags import add_settings, load_settings


def add(actions: Any) -> None:
    """Add the action."""
    tile = actions.add_parser("tile", help="cut the tiles of a recipe once, so that epochs read them fast", allow_abbrev=False)
    add_settings(tile)
    tile.set_defaults(run_command=_tile)


def _tile(arguments: argparse.Namespace) -> int:
    config = load_settings(arguments)
    from bleep.workflows.data import tile

    done = list(tile(config))
    for section, tiles, size, before in done:
        print(f"{section:16s} {tiles:8d} tiles {size / 1e6:10.1f} MB{'  already there' if before else ''}")
    total = sum(found.bytes for found in done) / 1e9
    print(f"{config.cache / 'tiles'}: {total:.2f} GB; read from there wherever these tiles are asked for; safe to delete")
    return 0
