"""`bleep data download`: public tissue, pinned by sha256."""

import argparse
from pathlib import Path
from typing import Any


def add(actions: Any) -> None:
    """Add the action."""
    download = actions.add_parser("download", help="fetch public tissue, or list what there is", allow_abbrev=False)
    download.add_argument("name", nargs="?", default=None, help="name of the set; none: list them")
    download.add_argument("--out", type=Path, default=None, help="folder for the files (default: data/NAME)")
    download.add_argument("--from", dest="base", default=None, metavar="URL", help="a mirror that holds the same paths")
    download.set_defaults(run_command=_download)


def _download(arguments: argparse.Namespace) -> int:
    from bleep.data import downloads
    from bleep.errors import DataError

    if arguments.name is None:
        for chosen in downloads.SETS.values():
            print(f"{chosen.name}: {chosen.title}; {len(chosen.pins())} files, {chosen.size}; {chosen.licence}")
        print("next: bleep data download NAME")
        return 0
    chosen = downloads.public_set(arguments.name)
    folder: Path = arguments.out or Path("data") / chosen.name
    print(f"{chosen.name}: {chosen.title}; {len(chosen.pins())} files, {chosen.size}")
    print(f"licence: {chosen.licence}")
    print(f"cite: {chosen.citation}", flush=True)
    try:
        fetched = downloads.fetch(chosen, folder, arguments.base)
    except DataError:
        left = downloads.missing(chosen, folder)
        print(f"\nby hand: put each of these {len(left)} files where its arrow points, then run the same command to check them")
        urls = chosen.urls()
        for local in left:
            print(f"{urls[local]} -> {folder / local}")
        raise
    print(f"{folder}: {fetched} files fetched, {len(chosen.pins()) - fetched} were there; all have the pinned sha256")
    recipes = " or ".join(str(recipe) for recipe in chosen.recipes)
    print(f"next: bleep train --config {recipes} --data.root {folder}")
    return 0
