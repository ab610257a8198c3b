"""`bleep data`: fetch, check, look at and tile tissue, or make some up. One action a module, with `add(actions)`."""

import argparse
import importlib

ACTIONS = ("check", "describe", "download", "features", "tile", "toy")


def add(parser: argparse.ArgumentParser) -> None:
    """Add the actions."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    for name in ACTIONS:
        importlib.import_module(f"bleep.cli.data.{name}").add(actions)
