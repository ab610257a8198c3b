"""`bleep data`: fetch, check, look at and tile tissue, or make some up."""

import argparse
import json
import shutil
from pathlib import Path
from typing import Any

from bleep.cli import add_settings, load_settings, overrides
from bleep.errors import ConfigError


def add(parser: argparse.ArgumentParser) -> None:
    """Add the actions."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    for add_action in (add_check, add_describe, add_download, add_features, add_tile, add_toy):
        add_action(actions)


def add_check(actions: Any) -> None:
    """Add `bleep data check`: what is wrong with tissue, before hours are spent on it."""
    check = actions.add_parser(
        "check",
        help="say what is wrong with tissue before it is trained on",
        description="Measure every section and say what would spoil a result (exit code 1) or is worth knowing (0). Data that "
        "cannot be read at all end in one sentence and exit code 2.",
        allow_abbrev=False,
    )
    check.add_argument("recipes", nargs="*", type=Path, metavar="YAML", help="recipes, as for --config")
    check.add_argument("--json", action="store_true", help="print JSON alone: sections and findings")
    add_settings(check)
    check.set_defaults(run_command=_check)


def _check(arguments: argparse.Namespace) -> int:
    from bleep.config import Config

    config = Config.load(*arguments.recipes, *arguments.config, overrides(arguments))
    from bleep.data.qc import as_text
    from bleep.workflows.data import check

    found = check(config)
    if arguments.json:
        print(json.dumps(found.to_dict(), indent=1, allow_nan=False))
    else:
        print(as_text(found, min(max(shutil.get_terminal_size((110, 24)).columns, 60), 120)))
    return 1 if found.spoiled else 0


def add_describe(actions: Any) -> None:
    """Add `bleep data describe`: tables and figures of tissue."""
    # The setting `out` is the folder of a run; here it gives way to the folder of the description.
    describe = actions.add_parser(
        "describe", help="draw and tabulate genes, spots and sections", allow_abbrev=False, conflict_handler="resolve"
    )
    add_settings(describe)
    describe.add_argument("--out", type=Path, default=Path("describe"), help="folder for the description; an earlier one goes")
    describe.set_defaults(run_command=_describe)


def _describe(arguments: argparse.Namespace) -> int:
    config = load_settings(arguments)
    from bleep.workflows.describe import INDEX, WARNING, describe

    made = describe(config, arguments.out)
    pooled = made.pooled
    print(f"{pooled.describe()}; {pooled.scale}")
    for name, finding in made.findings.items():
        print(f"{name:17s} {finding}")
    print(f"{'pairs':17s} {made.pairs.describe()} (gene_pairs.csv)")
    print(f"note: {WARNING}")
    print(f"{arguments.out / INDEX}: what each table and figure is")
    return 0


def add_download(actions: Any) -> None:
    """Add `bleep data download`: public tissue, pinned by sha256."""
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


def add_features(actions: Any) -> None:
    """Add `bleep data features`: the features of a recipe's trunk, written as TRIDENT does."""
    features = actions.add_parser(
        "features", help="write a trunk's features of each section as .h5, for other programs", allow_abbrev=False
    )
    features.add_argument("--to", type=Path, required=True, metavar="FOLDER", help="folder of the SECTION.h5 files")
    features.add_argument("--overwrite", action="store_true", help="replace files of these names that bleep did not write")
    add_settings(features)
    features.set_defaults(run_command=_features)


def _features(arguments: argparse.Namespace) -> int:
    config = load_settings(arguments)
    from bleep.workflows.data import features

    for path, spots, width in features(config, arguments.to, overwrite=arguments.overwrite):
        print(f"{path}: {spots} spots, {width} features")
    print(f"next: train with --image.trunk features --data.features {arguments.to}")
    return 0


def add_tile(actions: Any) -> None:
    """Add `bleep data tile`: keep the tiles of a recipe on disk, as they are cut."""
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


def add_toy(actions: Any) -> None:
    """Add `bleep data toy`: made-up tissue as files."""
    toy = actions.add_parser("toy", help="write toy tissue in the folder and st2k forms", allow_abbrev=False)
    toy.add_argument("out", type=Path, help="a new folder; it gets folder/ and st2k/")
    toy.add_argument("--seed", type=int, default=0, help="seed of the tissue")
    toy.set_defaults(run_command=_toy)


def _toy(arguments: argparse.Namespace) -> int:
    from bleep.data.toy import toy_sections, write_folder, write_st2k
    from bleep.files import check_writable

    if arguments.seed < 0:
        raise ConfigError(f"--seed {arguments.seed}: expected 0 or more")
    for form in (arguments.out / "folder", arguments.out / "st2k"):
        if not form.exists():
            check_writable(form)
    sections = toy_sections(seed=arguments.seed)
    write_folder(sections, arguments.out / "folder")
    write_st2k(sections, arguments.out / "st2k")
    print(f"{arguments.out}/folder: train.csv, test.csv and their tiles; {arguments.out}/st2k: slides and spots")
    print(f"next: bleep train --config toy --data.source folder --data.root {arguments.out}/folder/train.csv --data.split none")
    return 0
