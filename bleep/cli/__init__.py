"""The command line: commands parse, call the pipeline and print; what they share: settings as flags, the run, workers."""

import argparse
import contextlib
import csv
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bleep.errors import ConfigError, DataError

if TYPE_CHECKING:
    from bleep.config import Config


MAPPINGS = {"data.patients": "SECTION=PATIENT", "data.options": "NAME=VALUE", "loss.more": "NAME=WEIGHT"}
"""Settings of the kind `mapping`, and how each pair is written as a flag."""
LONG = 200
"""Letters of what was written that an error repeats at most."""

LISTS = ("list of names", "list of numbers")

MANY: Mapping[str, Any] = {"nargs": "+", "action": "extend", "default": []}
"""Of a flag that takes several words, together or each with the flag once more."""


def add_settings(parser: argparse.ArgumentParser, only: str | None = None) -> None:
    """Add `--config` and a flag for every setting; with `only`, flags for the settings of that section alone."""
    from bleep.config import describe_fields

    if only is None:
        parser.add_argument("--config", **MANY, type=Path, metavar="YAML", help="recipes, by path or by name; the later wins")
    sections: dict[str, Any] = {}
    for name, kind, default, text in describe_fields():
        head = name.split(".")[0] if "." in name else "run"
        if only not in (head, None):
            continue
        if head not in sections:
            sections[head] = parser.add_argument_group(f"{head} settings")
        help_text = f"{text} [{kind}; {default}]".replace("%", "%%")
        arity: dict[str, Any] = {"nargs": "*", "action": "extend"} if kind in LISTS else {}
        sections[head].add_argument(f"--{name}", dest=f"set:{name}", metavar="X", help=help_text, default=None, **arity)


def own_usage(parser: argparse.ArgumentParser) -> str | None:
    """Return a usage line of the command's own options, where all settings are flags too; else none, for argparse's own."""
    if not any(action.dest == "config" for action in parser._actions):
        return None
    own = [action for action in parser._actions if not action.dest.startswith("set:")]
    formatter = argparse.HelpFormatter(prog=parser.prog, width=100)
    formatter.add_usage(None, own, [])
    words = formatter.format_help().removeprefix("usage: ").rstrip().replace("%", "%%")
    return f"{words} [--section.field X ...]"


def load_settings(arguments: argparse.Namespace) -> "Config":
    """Merge the recipes and the flags.

    Raises:
        ConfigError: a recipe or a flag is wrong.

    """
    from bleep.config import Config

    return Config.load(*arguments.config, overrides(arguments))


def overrides(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the flags given, as a tree."""
    tree: dict[str, Any] = {}
    for key, value in vars(arguments).items():
        if not key.startswith("set:") or value is None:
            continue
        *path, last = key.removeprefix("set:").split(".")
        place = tree
        for step in path:
            place = place.setdefault(step, {})
        place[last] = _plain(key.removeprefix("set:"), value)
    return tree


def _plain(name: str, value: str | list[str]) -> Any:
    if isinstance(value, list) and len(value) == 1 and value[0].startswith("["):
        return _as_yaml(name, value[0])
    if value == "none":
        return "none" if _takes_none_as_a_word(name) else None
    if name in MAPPINGS:
        pairs = [pair.partition("=") for pair in split_names(f"--{name}", str(value))]
        if not pairs or not all(middle for _, middle, _ in pairs):
            raise ConfigError(f"--{name}: found {_begun(str(value))}; expected {MAPPINGS[name]},{MAPPINGS[name]}")
        return {key: found for key, _, found in pairs}
    return value


def _begun(text: str) -> str:
    """Return what was written, in quotes; of what is long its beginning."""
    return repr(text if len(text) <= LONG else f"{text[:LONG]}...")


def split_names(flag: str, text: str) -> tuple[str, ...]:
    """Return what a flag gives apart by commas, read as a line of CSV: a name that holds a comma stands in double quotes.

    Raises:
        ConfigError: a quote is not closed, or more follows it than a comma.

    """
    try:
        (cells,) = csv.reader([text], skipinitialspace=True, strict=True)
    except (csv.Error, ValueError):
        raise ConfigError(
            f"{flag}: found {_begun(text)}; expected names apart by commas, and double quotes around one that holds a comma, "
            "as in '\"A, B\",C'"
        ) from None
    return tuple(cell.strip() for cell in cells if cell.strip())


def _as_yaml(name: str, text: str) -> Any:
    """Return a list that was written as it stands in a recipe, `[112, 224]`."""
    import yaml

    try:
        return yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, LookupError, AttributeError, TypeError, RecursionError):
        raise ConfigError(f"--{name}: found {_begun(text)}; expected values apart by spaces, or a list as in YAML") from None


def _takes_none_as_a_word(name: str) -> bool:
    from bleep.config import describe_fields

    return any(field == name and "none" in kind for field, kind, _, _ in describe_fields())


DEFAULT = "default: $BLEEP_RUN, else the newest in runs/"


def add_run(parser: argparse.ArgumentParser) -> None:
    """Add `--run`."""
    parser.add_argument("--run", type=Path, default=None, help=f"folder of the run, or hf:USER/NAME on the hub ({DEFAULT})")


def named_run(given: Path | None, *, changes: bool = False) -> Path:
    """Return the folder of the run meant; one on the hub is downloaded where the cache lacks it.

    With `changes`, the command writes into the run's folder, which a download is not for.

    Raises:
        DataError: none is named and there is none, or the run is on the hub and would be changed or cannot be had.

    """
    if given is not None and str(given).startswith("hf:"):
        from bleep.workflows.hub import full_link, pull

        if changes:
            raise DataError(
                f"{given}: is a copy of what lies on the hub, which this command would change; make one of your own by "
                f"`bleep pull {given} --out FOLDER`"
            )
        folder = pull(str(given))
        print(f"run: {full_link(str(given), folder)}")
        return folder
    if given is not None:
        return given
    if os.environ.get("BLEEP_RUN"):
        return Path(os.environ["BLEEP_RUN"])
    from bleep.find import newest_run

    found = newest_run()
    print(f"run: {found}")
    return found


@contextlib.contextmanager
def by_flags(flags: Mapping[str, str]) -> Iterator[None]:
    """Let errors name a command's own flags in place of settings, which it has no flags for; what names both stays."""
    try:
        yield
    except (DataError, ConfigError) as error:
        told = str(error)
        for setting, flag in flags.items():
            told = re.sub(rf"(?<![-\w])(?<!{flag} or ){re.escape(setting)}\b(?! \({flag}\))", flag, told)
        raise type(error)(told) from None


def add_workers(group: Any) -> None:
    """Add the flags of `--engine ray`."""
    group.add_argument("--address", default=None, help="ray: `auto` or ray://HOST:10001 (default: this machine alone)")
    group.add_argument("--workers", type=int, default=None, help="ray: how many (default: as many as there is room for)")
    group.add_argument("--worker-cpus", type=float, default=1.0, metavar="N", help="ray: CPUs of each worker (default 1)")
    group.add_argument("--worker-gpus", type=float, default=0.0, metavar="N", help="ray: GPUs of each, or a part of one")


def check_workers(arguments: argparse.Namespace) -> None:
    """Refuse workers without Ray, and numbers of them that cannot be.

    Raises:
        ConfigError: see above.

    """
    given = arguments.address or arguments.workers is not None or arguments.worker_gpus or arguments.worker_cpus != 1.0
    if given and arguments.engine != "ray":
        raise ConfigError("--address, --workers, --worker-cpus and --worker-gpus belong to --engine ray; give it too")
    for name, least in (("workers", 1), ("worker_cpus", 0.01), ("worker_gpus", 0)):
        value = getattr(arguments, name)
        if value is not None and not least <= value < 1e6:
            raise ConfigError(f"--{name.replace('_', '-')} {value}: expected {least:g} or more")
