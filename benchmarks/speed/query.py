"""How much a query takes beyond the trunk's own forward pass, over a real section, features not cached.

    python benchmarks/speed/query.py --root DATA/her2st --weights FILE [--section C4] [--out benchmarks/results]

A run is trained on the other sections of the patient, and its index built. Then, in one process: the trunk over the section's
tiles, which stand ready in memory; and the query, from opening the section to the finished files. Both are repeated, in
turn, and the least of each is compared. Seconds are those of the processor, so that other work on the machine counts little.
"""

import argparse
import shutil
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from bleep import runs
from bleep.config import Config
from bleep.files import write_json, write_text
from bleep.predictors.calibration import predictors_of
from bleep.retrieval.reference import Reference
from bleep.runs import Run
from bleep.workflows.fit import fit
from bleep.workflows.query import build_reference, open_tiles, share_features
from bleep.workflows.stream import Output, Query, write_query

TIMES = 3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--section", default="C4", help="a folder of the data set")
    parser.add_argument("--times", type=int, default=TIMES, help="repetitions")
    parser.add_argument("--cache", type=Path, default=Path("cache"), help="features of the training sections")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        over = {
            "data": {"root": str(asked.root), "test": [asked.section]},
            "image": {"weights": str(asked.weights)},
            "out": str(root / "run"),
            "cache": str(asked.cache),
        }
        run = fit(Config.load("configs/her2st-c.yaml", over))
        build_reference(run).save(root / "run/reference")
        shutil.copytree(asked.root / asked.section, root / "tissue" / asked.section)
        rows = [measured(root) for _ in range(asked.times)]
    forward, query = (min(row[name] for row in rows) for name in ("forward_s", "query_s"))
    least = min(rows, key=lambda row: row["query_s"])
    about = f"her2st {asked.section}, {int(least['tiles'])} tiles, {run.facts.trunk}, {torch.get_num_threads()} threads"
    lines = [
        "# A query beyond the trunk", "",
        f"`python benchmarks/speed/query.py`: {about}, least of {asked.times}. "
        "Asked: the query takes at most 10 % more than the trunk.", "",
        "| | processor seconds |", "| --- | --- |",
        f"| trunk over ready tiles | {forward:.2f} |",
        f"| query, from the open run to the files | {query:.2f} |",
        f"| of it, opening the section | {least['open_s']:.2f} |",
        f"| of it, tiles cut and through the trunk | {least['features_s']:.2f} |",
        f"| of it, search, average, files | {least['rest_s']:.2f} |",
        "", f"The query takes {100 * (query / forward - 1):.1f} % more.",
    ]  # fmt: skip
    print("\n".join(lines))
    write_text(asked.out / "query.md", "\n".join([*lines, ""]))
    write_json(asked.out / "query.json", {"forward_s": forward, "query_s": query, "added": query / forward - 1, "runs": rows})


def measured(root: Path) -> dict[str, float]:
    """Time both, with nothing cached of the section."""
    shutil.rmtree(root / "cache", ignore_errors=True)
    loaded = Run.load(root / "run")
    run = Run(loaded.config.model_copy(update={"cache": root / "cache"}), loaded.model, loaded.panel, loaded.facts)
    begun = time.process_time()
    reference = Reference.load(root / "run" / runs.REFERENCE)
    predictor = next(iter(predictors_of(run, reference).values()))
    tiles = open_tiles(root / "tissue", run)
    opened = time.process_time()
    share_features(run, tiles)
    known = time.process_time()
    write_query(Query(run, predictor, reference, tiles), Output(root / "p.h5ad"))
    done = time.process_time()
    images = torch.from_numpy(np.asarray(tiles.images(range(len(tiles)))))
    trunk, batch = run.model.trunk, run.config.query.batch
    with torch.no_grad():
        trunk(images[:batch])
        began = time.process_time()
        for at in range(0, len(images), batch):
            for _ in range(run.config.query.views):
                trunk(images[at : at + batch])
    forward = time.process_time() - began
    return {
        "tiles": float(len(tiles)), "forward_s": forward, "query_s": done - begun, "open_s": opened - begun,
        "features_s": known - opened, "rest_s": done - known,
    }  # fmt: skip


if __name__ == "__main__":
    main()
