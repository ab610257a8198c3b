"""`bleep index`: build and info."""

import argparse

from bleep.cli.runs import add_run, named_run


def add(parser: argparse.ArgumentParser) -> None:
    """Add the subcommands."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    build = actions.add_parser("build", help="embed the training spots and index them", allow_abbrev=False)
    add_run(build)
    build.set_defaults(run_command=_build)
    info = actions.add_parser("info", help="say what an index holds and whether it fits its run", allow_abbrev=False)
    add_run(info)
    info.set_defaults(run_command=_info)


def _build(arguments: argparse.Namespace) -> int:
    folder = named_run(arguments.run)
    from bleep import pipeline
    from bleep.runs import REFERENCE, Run

    run = Run.load(folder)
    run.model.to(pipeline.best_device())
    reference = pipeline.build_reference(run)
    reference.save(folder / REFERENCE)
    print(f"{folder / REFERENCE}: {len(reference)} spots of {', '.join(reference.manifest['sections'])}")
    print(f"next: bleep query --images FOLDER --run {folder}")
    return 0


def _info(arguments: argparse.Namespace) -> int:
    folder = named_run(arguments.run)
    from bleep.prediction.reference import Reference
    from bleep.runs import REFERENCE, Run

    reference = Reference.load(folder / REFERENCE)
    for key, value in reference.manifest.items():
        shown = f"{len(value)}, first {', '.join(value[:5])}" if key == "genes" else value
        print(f"{key:13s} {', '.join(shown) if isinstance(shown, list) else shown}")
    reference.check(Run.load(folder))
    print("fits the run")
    return 0
