"""`bleep train`, and what `bleep/train.py` does: the same, for `accelerate launch`."""

import argparse
from collections.abc import Sequence

from bleep.cli.app import GO_ON, guarded
from bleep.cli.flags import add_settings, load_settings, own_usage


def add(parser: argparse.ArgumentParser) -> None:
    """Add the flags."""
    parser.description = (
        "Train an image and an expression encoder together, or a regression head, in one process. For several, with the same "
        "flags: accelerate launch [its options] -m bleep.train."
    )
    parser.add_argument("--resume", action="store_true", help="go on with the training in --out")
    parser.add_argument("--overwrite", action="store_true", help="replace the run in --out")
    add_settings(parser)
    parser.set_defaults(run_command=_train)


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of `bleep/train.py`."""
    parser = argparse.ArgumentParser(prog="bleep/train.py", allow_abbrev=False)
    add(parser)
    parser.usage = own_usage(parser)
    return parser


def command(argv: Sequence[str]) -> int:
    """Train and return the exit code."""
    arguments = build_parser().parse_args(argv)
    return guarded(lambda: _train(arguments), GO_ON["train"])


def _train(arguments: argparse.Namespace) -> int:
    config = load_settings(arguments)
    from bleep.workflows.fit import fit, is_main_process

    run = fit(config, resume=arguments.resume, overwrite=arguments.overwrite)
    if is_main_process():
        print(f"{config.out}: trained on {sum(s.spots for s in run.facts.train)} spots, kept epoch {run.facts.epoch}")
        step = "bleep index build" if config.loss.task not in ("regression", "classify") else "bleep query --images FOLDER"
        print(f"next: {step} --run {config.out}")
    return 0
