"""The command line's entry: one parser, and one place where errors become a sentence and an exit code."""

import argparse
import difflib
import gc
import importlib
import logging
import os
import sys
from collections.abc import Callable, Sequence
from importlib.abc import MetaPathFinder

import bleep
from bleep.cli import LONG
from bleep.errors import BleepError, ConfigError, told_by_system, told_of_launch, told_of_memory

log = logging.getLogger(__name__)

COMMANDS = {
    "init": "look at your tissue and write a recipe for it",
    "train": "train a model and write a run",
    "data": "look at tissue, or make some up",
    "index": "build and inspect the index of training spots",
    "calibrate": "learn from training tissue left out how to combine, and how sure to be",
    "ensemble": "join runs to one predictor",
    "query": "predict expression for tiles",
    "pack": "write a run and its model card to one file",
    "unpack": "read a run from such a file",
    "push": "send a run and its model card to the hub",
    "pull": "get a run from the hub",
    "export": "hand a prediction over to QuPath or SpatialData",
    "evaluate": "compare predictors on held-out tissue",
    "cv": "train and score every fold of a recipe",
    "tune": "find the settings with the best validation score",
    "config": "show settings and what they mean",
    "doctor": "say what is installed and what is not",
    "demo": "run everything on toy tissue, or on real tissue",
}
"""Each is a module of this folder with `add(parser)`, which sets `run_command`."""
TOGETHER = {
    **dict.fromkeys(("init", "config", "doctor", "demo"), "setup"),
    **dict.fromkeys(("train", "tune", "cv", "ensemble", "calibrate"), "training"),
    **dict.fromkeys(("pack", "unpack", "push", "pull", "export"), "share"),
}
"""Commands that share a module, which has `add_NAME(parser)` for each."""
SEVERAL = ("train", "query", "index build", "index info", "index verify", "config", "doctor", "tune")
"""What several processes of one launch may be asked: they share the work, write nothing, or are told better what to do."""


def build_parser(only: str | None = None) -> argparse.ArgumentParser:
    """Return the parser; with `only`, that command alone is filled in, so that the others cost no imports."""
    parser = argparse.ArgumentParser(
        prog="bleep", description="Predict spatially resolved gene expression from H&E histology.", allow_abbrev=False
    )
    parser.add_argument("--version", action="store_true", help="print the version and exit")
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND")
    for name, text in COMMANDS.items():
        child = subparsers.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".", allow_abbrev=False)
        if only in (name, None):
            module = importlib.import_module(f"bleep.cli.{TOGETHER.get(name, name)}")
            getattr(module, f"add_{name}" if name in TOGETHER else "add")(child)
            _shorten_usage(child)
    parser.epilog = "Training with several processes: accelerate launch -m bleep.train --config NAME"
    return parser


def _shorten_usage(parser: argparse.ArgumentParser) -> None:
    """Leave the settings out of the usage lines of a command and of its actions."""
    groups = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    for child in (child for group in groups for child in group.choices.values()):
        _shorten_usage(child)
    from bleep.cli import own_usage

    parser.usage = None if groups else own_usage(parser)


def parse(parser: argparse.ArgumentParser, argv: Sequence[str]) -> argparse.Namespace:
    """Parse; a word that fits nowhere is answered with the flag that was meant, as far as it can be guessed."""
    arguments, left = parser.parse_known_args(argv)
    if left:
        asked = _asked(parser, argv)
        flags = [flag for action in asked._actions for flag in action.option_strings if flag.startswith("--")]
        if left[0].startswith("-"):
            near = difflib.get_close_matches(left[0].partition("=")[0], flags, n=1, cutoff=0.7)
            hint = f"did you mean {near[0]}?" if near else f"`{asked.prog} --help` lists what there is"
        else:
            named = next((flag for flag in ("--run", "--config") if flag in flags), None)
            hint = f"did you mean `{named} {left[0]}`?" if named else f"`{asked.prog} --help` tells what it takes"
        asked.error(f"unrecognized arguments: {visible(' '.join(left)[:LONG])}; {hint}")
    return arguments


def _asked(parser: argparse.ArgumentParser, argv: Sequence[str]) -> argparse.ArgumentParser:
    """Return the parser of the command, or of its action, that the words name."""
    for group in (action for action in parser._actions if isinstance(action, argparse._SubParsersAction)):
        for place, word in enumerate(argv):
            if word in group.choices:
                return _asked(group.choices[word], argv[place + 1 :])
    return parser


def main(argv: Sequence[str]) -> int:
    """Run one command and return its exit code: 0 done, 1 findings, 2 bad input, 3 done but for some slides."""
    only = next((word for word in argv if not word.startswith("-")), "none")
    parser = build_parser(only)
    arguments = parse(parser, argv)
    if arguments.version:
        print(bleep.__version__)
        return 0
    if arguments.command is None:
        parser.print_help()
        return 0
    if getattr(arguments, "run_command", None) is None:
        parser.parse_args([arguments.command, "--help"])
    return guarded(lambda: _run(arguments), _go_on(arguments))


def _run(arguments: argparse.Namespace) -> int:
    """Do what is asked; several processes would each do, and write, the whole of what they do not share.

    Raises:
        ConfigError: several were launched for such a command.

    """
    words = " ".join(filter(None, (arguments.command, getattr(arguments, "action", None))))
    archive = arguments.command == "query" and (arguments.engine or arguments.out_dir)
    words += " of an archive" * bool(archive)
    if _processes() > 1 and (archive or not {words, arguments.command} & set(SEVERAL)):
        raise ConfigError(
            f"bleep {words}: is done by one process, and {_processes()} were launched (WORLD_SIZE); start it without "
            "accelerate launch or torchrun"
        )
    return int(arguments.run_command(arguments))


def _processes() -> int:
    """Return how many processes were launched together."""
    return int(os.environ.get("WORLD_SIZE") or 1)


def _go_on(arguments: argparse.Namespace) -> str:
    """Return how what is stopped by hand goes on."""
    if getattr(arguments, "engine", None):
        return "; finished slides are kept: the same command goes on"
    if arguments.command in ("cv", "train") and arguments.overwrite:
        return f"; what is finished is kept: {GO_ON_OVERWRITE[arguments.command]}"
    return GO_ON.get(arguments.command, "")


GO_ON = {
    "query": "; what is finished is kept: the same command with --resume goes on",
    "train": "; every whole epoch is kept: the same command with --resume goes on",
    "cv": "; what is finished is kept: the same command goes on",
    "tune": "; finished trials are kept: the same command goes on",
}
"""What is said of a command that was stopped by hand."""
GO_ON_OVERWRITE = {
    "cv": "the same command without --overwrite goes on",
    "train": "the same command with --resume for --overwrite goes on",
}


def guarded(work: Callable[[], int], go_on: str = "") -> int:
    """Do the work; print a BleepError as one sentence and return its code, mostly 2; an interrupt returns 130.

    `go_on` is added to what is said of an interrupt.
    """
    say()
    try:
        return work()
    except BleepError as error:
        print(f"bleep: {visible(str(error))}", file=sys.stderr)
        return error.code
    except KeyboardInterrupt:
        print(f"bleep: stopped{go_on}", file=sys.stderr)
        return 130
    except MemoryError as error:
        print(f"bleep: {visible(told_of_memory(error))}", file=sys.stderr)
        return BleepError.code
    except BrokenPipeError:
        # Whoever read our output has gone; Python would complain once more when it closes the pipe.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except RuntimeError as error:
        told = told_of_launch(error) if _processes() > 1 else None
        if told is None:
            raise
        print(f"bleep: {told}", file=sys.stderr)
        return BleepError.code
    except OSError as error:
        # What no reader or writer has said better.
        told = told_by_system(error)
        if told is None:
            raise
        print(f"bleep: {visible(told)}", file=sys.stderr)
        return BleepError.code


def visible(text: str) -> str:
    """Return words for a terminal: what would move its cursor or colour it, as names from elsewhere may hold, is spelt out."""
    return "".join(c if c.isprintable() or c in "\n\t" else c.encode("unicode_escape").decode("ascii") for c in text)


class _Visible(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return visible(super().format(record))


class _FirstWord(MetaPathFinder):
    """Say that libraries are being loaded when torch is first asked for, which on a busy machine takes many seconds."""

    def find_spec(self, fullname: str, path: object = None, target: object = None) -> None:
        if fullname == "torch":
            sys.meta_path.remove(self)
            log.info("loading libraries")


def say() -> None:
    """Let the package's notes through to standard error, bare, once a process."""
    if "torch" not in sys.modules and not any(isinstance(finder, _FirstWord) for finder in sys.meta_path):
        sys.meta_path.insert(0, _FirstWord())
    logger = logging.getLogger("bleep")
    if not logger.handlers:
        handler = logging.StreamHandler()
        handler.setFormatter(_Visible("%(message)s"))
        logger.addHandler(handler)
        logger.setLevel(logging.INFO if int(os.environ.get("RANK", "0")) == 0 else logging.ERROR)
        logger.propagate = False


def entry() -> None:
    """Run the `bleep` script."""
    # Libraries make many objects that stay: they load sooner where these are looked through less often.
    gc.set_threshold(50_000, 10, 10)
    try:
        sys.exit(main(sys.argv[1:]))
    finally:
        # At its end Python looks through all of them once more, which takes a second with torch: it need not.
        gc.freeze()
