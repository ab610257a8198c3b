"""`bleep index`: build, info, add, remove, merge and verify."""

import argparse
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bleep.cli import MANY, add_run, add_workers, by_flags, check_workers, named_run, reading_flags

if TYPE_CHECKING:
    from bleep.retrieval.reference import Reference
    from bleep.runs import Run


def add(parser: argparse.ArgumentParser) -> None:
    """Add the subcommands."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    build = actions.add_parser("build", help="embed the training spots and index them", allow_abbrev=False)
    if "info" not in sys.argv[1:3]:
        # Settings take a second to load, which who only looks at an index need not wait for.
        from bleep.cli import add_settings

        add_settings(build, only="index")
    group = build.add_argument_group("many sections")
    group.add_argument("--engine", choices=("here", "ray"), default="here", help="`ray`: sections are embedded by many workers")
    add_workers(group)
    build.set_defaults(run_command=_build)
    info = actions.add_parser("info", help="say what an index holds and whether it fits its run", allow_abbrev=False)
    info.set_defaults(run_command=_info)
    grow = actions.add_parser("add", help="add measured sections to an index", allow_abbrev=False)
    grow.add_argument("--images", type=Path, required=True, help="where they are, in the form of the run or of --data.source")
    reading_flags.add(grow, but=["sections"])
    grow.add_argument("--sections", **MANY, help="which of them (default: all)")
    grow.add_argument("--patient", default=None, help="whom they are from (default: what the files say)")
    grow.add_argument(
        "--allow-held-out", action="store_true", help="take sections the run holds out for testing; it is then not evaluated"
    )
    grow.set_defaults(run_command=_add)
    remove = actions.add_parser("remove", help="remove a section or a patient from an index", allow_abbrev=False)
    which = remove.add_mutually_exclusive_group(required=True)
    which.add_argument("--section", default=None, help="name of the section")
    which.add_argument("--patient", default=None, help="name of the patient, all of whose sections go")
    remove.set_defaults(run_command=_remove)
    merge = actions.add_parser("merge", help="add what another index of the same run holds", allow_abbrev=False)
    merge.add_argument("other", type=Path, help="folder of the other index, or of the run that holds it")
    merge.set_defaults(run_command=_merge)
    verify = actions.add_parser("verify", help="read all of an index and compare it with its manifest", allow_abbrev=False)
    verify.set_defaults(run_command=_verify)
    for action in (build, info, grow, remove, merge, verify):
        add_run(action)


def _build(arguments: argparse.Namespace) -> int:
    check_workers(arguments)
    folder = named_run(arguments.run, changes=True)
    from dataclasses import replace
    from functools import partial

    from bleep.cli import overrides
    from bleep.config import Config
    from bleep.runs import REFERENCE, Run
    from bleep.workflows.launch import best_device, is_main_process
    from bleep.workflows.query import build_reference, help_build_reference
    from bleep.workflows.ray_engine import Cluster

    run = Run.load(folder)
    config = Config.load(run.config.dump(), overrides(arguments))
    run.model.to(best_device())
    if not is_main_process():
        help_build_reference(run)
        return 0
    spread = None
    if arguments.engine == "ray":
        cluster = Cluster(arguments.address, arguments.workers, arguments.worker_cpus, arguments.worker_gpus)
        spread = partial(cluster.embed, folder.absolute())
    reference = build_reference(replace(run, config=config), spread)
    reference.save(folder / REFERENCE)
    print(f"{folder / REFERENCE}: {_holds(reference)}")
    print(f"next: bleep query --images FOLDER --run {folder}")
    return 0


def _info(arguments: argparse.Namespace) -> int:
    folder = named_run(arguments.run)
    from bleep.find import MANIFEST, REFERENCE

    # What can be said before the libraries are there is said at once; whether it is true is looked at below.
    at_once = _manifest(folder / REFERENCE / MANIFEST)
    for line in at_once:
        print(line, flush=True)
    from bleep.retrieval.reference import Reference
    from bleep.runs import Run

    run = Run.load(folder)
    reference = Reference.load(folder / REFERENCE)
    if not at_once:
        for line in _told_of(reference.manifest):
            print(line)
    print(f"{'columns':13s} {', '.join(map(str, reference.spots.columns))}")
    reference.check(run)
    print("fits the run")
    return 0


def _add(arguments: argparse.Namespace) -> int:
    folder, run = _run(arguments, changes=True)
    from bleep.workflows import query as indexing
    from bleep.workflows.launch import best_device

    run.model.to(best_device())
    with by_flags(reading_flags.flags() | {"data.sections": "--sections"}):
        asked = reading_flags.given(arguments)
        sections = indexing.read_measured(run, arguments.images, arguments.sections, arguments.patient, asked)
    reference = indexing.add_sections(run, folder, sections, allow_held_out=arguments.allow_held_out)
    print(f"added {sum(map(len, sections))} spots of {', '.join(section.name for section in sections)}")
    return _told(folder, reference)


def _remove(arguments: argparse.Namespace) -> int:
    folder = named_run(arguments.run, changes=True)
    from bleep.workflows import query as indexing

    return _told(folder, indexing.remove_spots(folder, arguments.section, arguments.patient))


def _merge(arguments: argparse.Namespace) -> int:
    folder = named_run(arguments.run, changes=True)
    from bleep.workflows import query as indexing

    return _told(folder, indexing.merge_references(folder, arguments.other))


def _verify(arguments: argparse.Namespace) -> int:
    folder, run = _run(arguments)
    from bleep.retrieval.reference import verify
    from bleep.runs import REFERENCE

    reference, measured = verify(folder / REFERENCE)
    reference.check(run)
    print(f"{folder / REFERENCE}: whole; {_holds(reference)}; {_measured(measured)}")
    return 0


def _run(arguments: argparse.Namespace, *, changes: bool = False) -> "tuple[Path, Run]":
    folder = named_run(arguments.run, changes=changes)
    from bleep.runs import Run

    return folder, Run.load(folder)


def _told(folder: Path, reference: "Reference") -> int:
    from bleep.runs import REFERENCE

    print(f"{folder / REFERENCE}: {_holds(reference)}; {_measured(reference.manifest['measured'])}")
    return 0


def _holds(reference: "Reference") -> str:
    return f"{len(reference)} spots of {', '.join(section['name'] for section in reference.manifest['sections'])}"


def _manifest(path: Path) -> list[str]:
    """Return what a manifest says, as lines; of one that is missing or garbled nothing, since the loading tells it better."""
    try:
        return _told_of(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return []


def _told_of(manifest: Mapping[str, Any]) -> list[str]:
    return [
        f"{'' if line else key:13s} {text}"
        for key, value in manifest.items()
        if key != "digest"
        for line, text in enumerate(_lines(key, value))
    ]


def _lines(key: str, value: Any) -> list[str]:
    """Return an entry of the manifest as lines to read."""
    if key == "genes":
        return [f"{len(value)}, first {', '.join(value[:5])}"]
    if key == "sections":
        return [f"{one['name']}: {one['spots']} spots, patient {one['patient']}, {one['origin']}" for one in value]
    if key == "measured":
        return [_measured(value)]
    if key == "expression":
        return [f"{value['form']}: {value['why']}", *([f"at {value['url']}"] if "url" in value else [])]
    return [str(value)]


def _measured(measured: dict[str, Any]) -> str:
    words = f"finds {measured['recall']:.1%} of the true {measured['k']} neighbours of {measured['queries']} "
    words += str(measured["queries_are"])
    if "milliseconds_per_query" in measured:
        words += f", {measured['milliseconds_per_query']:.3g} ms a query, {measured['bytes_per_vector']:.0f} bytes a vector"
    return words
