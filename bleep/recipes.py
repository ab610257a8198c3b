"""Recipes: YAML files as trees, and trees laid over one another."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from bleep.errors import ConfigError


def read_yaml(path: Path) -> dict[Any, Any]:
    """Read a mapping from YAML; an empty file is an empty one.

    Raises:
        ConfigError: the file is missing, is not YAML, or holds something else than a mapping.

    """
    try:
        tree = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such configuration file; recipes to start from are in configs/") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read as a configuration file ({_first_line(error)})") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: is not valid YAML ({_first_line(error)}); mend that place or start from configs/") from None
    except (ValueError, LookupError, AttributeError, TypeError, RecursionError) as error:
        # PyYAML lets through what its parts raise at a value that looks like a date or a number and is none.
        raise ConfigError(f"{path}: holds a value that YAML cannot read ({_first_line(error)}); write it in quotes") from None
    if tree is None:
        return {}
    if not isinstance(tree, dict):
        raise ConfigError(f"{path}: holds a {type(tree).__name__} where a mapping such as `data:` was expected")
    return tree


def _first_line(error: Exception) -> str:
    mark = getattr(error, "problem_mark", None)
    where = f"line {mark.line + 1}: " if mark is not None else ""
    said = str(getattr(error, "problem", None) or error) or type(error).__name__
    return where + said.splitlines()[0][:200]


def merged(base: Mapping[Any, Any], over: Mapping[Any, Any]) -> dict[Any, Any]:
    """Return `base` with the leaves of `over` in their places."""
    joined = dict(base)
    for key, value in over.items():
        below = joined.get(key)
        joined[key] = merged(below, value) if isinstance(below, Mapping) and isinstance(value, Mapping) else value
    return joined
