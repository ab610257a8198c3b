"""Recipes by name: `her2st-c`, `presets/bleep-2023`; in a checkout from configs/, in an installed package from inside it."""

import re
from collections.abc import Iterator
from difflib import get_close_matches
from pathlib import Path

from bleep.errors import ConfigError

_PACKAGE = Path(__file__).resolve().parents[1]
PLACES = (_PACKAGE.parent / "configs", _PACKAGE / "configs")
"""Where recipes may be: beside the package in a checkout, inside it once installed."""
NO_RECIPES = "accelerate"
"""A folder of files for `accelerate launch --config_file`, which are no recipes."""


def recipes_folder() -> Path:
    """Return the folder of the recipes that came with the package.

    Raises:
        ConfigError: the package was installed without them.

    """
    for place in PLACES:
        # A folder called configs beside an installed package is somebody else's.
        if (place / "toy.yaml").is_file() and (place.parent == _PACKAGE or (place.parent / "pyproject.toml").is_file()):
            return place
    raise ConfigError("the recipes are missing from this installation of bleep; install it again")


def recipe_names() -> list[str]:
    """Return the names of all recipes and overlays, those without a folder first."""
    folder = recipes_folder()
    found = [path.relative_to(folder).with_suffix("").as_posix() for path in folder.rglob("*.yaml")]
    return sorted((name for name in found if not name.startswith(f"{NO_RECIPES}/")), key=lambda name: ("/" in name, name))


def described_recipes() -> Iterator[tuple[str, str]]:
    """Yield each recipe's name and the first sentence of the comment it begins with."""
    folder = recipes_folder()
    for name in recipe_names():
        words: list[str] = []
        for line in (folder / f"{name}.yaml").read_text(encoding="utf-8").splitlines():
            if not line.startswith("#") or line.startswith("#   "):  # the end, or a command as an example
                break
            words += line.removeprefix("#").split()
        yield name, re.split(r"(?<!\.)\. ", " ".join(words))[0].rstrip(".:")


def find_recipe(given: Path) -> Path:
    """Return the file meant by a path or by a recipe's name; a file that exists wins.

    `her2st-c`, `her2st-c.yaml` and `configs/her2st-c.yaml` all find the recipe that came with the package when there is no
    such file below the working folder.

    Raises:
        ConfigError: there is neither such a file nor such a recipe.

    """
    if given.exists() and not given.is_dir():
        return given
    name = given.as_posix().removeprefix("./").removeprefix("configs/").removesuffix(".yaml")
    folder = recipes_folder()
    packaged = folder / f"{name}.yaml"
    if name and not given.is_absolute() and ".." not in given.parts and packaged.is_file():
        return packaged
    if given.exists():
        raise ConfigError(f"{given}: cannot be read as a configuration file (it is a folder)")
    near = get_close_matches(name, recipe_names(), n=1)
    hint = f"did you mean {near[0]}?" if near else "`bleep config list` names the recipes that came with bleep"
    raise ConfigError(f"{given}: no such configuration file, and no recipe of that name; {hint}")
