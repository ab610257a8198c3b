"""Write a recipe's tissue in the contest's form: training table, test table, sample submission, truth and tiles.

    python benchmarks/quality/contest_form.py OUT --config configs/her2st-c.yaml --data.root data/her2st

Values are the panel's, normalised as the recipe says; with `--corrected` every section's mean of each gene is moved to that of
the training spots, as the contest's own values were corrected for batches, so that some fall a little below 0. Then

    accelerate launch bleep/train.py --config configs/contest.yaml --data.root OUT/train.csv --out runs/contest
    bleep query --run runs/contest --images OUT/test.csv --out OUT/submission.csv
    bleep evaluate --protocol dacon --submission OUT/submission.csv --truth OUT/truth.csv --train OUT/train.csv
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from tqdm import tqdm

from bleep.cli import add_settings, load_settings
from bleep.data.panel import GenePanel
from bleep.data.section import Section
from bleep.data.slides import save_png
from bleep.data.splits import Split
from bleep.data.tiles import TileSpec, cut
from bleep.workflows.tissue import load_split


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="where to write")
    parser.add_argument("--corrected", action="store_true", help="move every section's gene means to the training mean")
    add_settings(parser)
    arguments = parser.parse_args()
    config = load_settings(arguments)
    divided = load_split(config)
    panel = GenePanel.fit(divided.train, config.panel)
    spec = TileSpec(config.tiles.pixels, config.tiles.microns[:1])
    write(divided, panel, spec, arguments.folder, corrected=arguments.corrected)


def write(divided: Split, panel: GenePanel, spec: TileSpec, out: Path, *, corrected: bool) -> None:
    """Write the five parts into a folder that is made for them."""
    out.mkdir(parents=True)
    train = _part((*divided.train, *divided.val), panel, spec, out, "train", corrected=corrected)
    train.to_csv(out / "train.csv", index=False)
    test = _part(divided.test, panel, spec, out, "test", corrected=corrected)
    test[["ID", "path"]].to_csv(out / "test.csv", index=False)
    truth = test.drop(columns="path")
    truth.to_csv(out / "truth.csv", index=False)
    truth.assign(**dict.fromkeys(panel.genes, 0)).to_csv(out / "sample_submission.csv", index=False)


def _part(
    sections: Sequence[Section], panel: GenePanel, spec: TileSpec, out: Path, part: str, *, corrected: bool
) -> pd.DataFrame:
    (out / part).mkdir()
    values = np.concatenate([_values(section, panel, corrected=corrected) for section in sections])
    ids = [f"{part.upper()}_{row:04d}" for row in range(len(values))]
    rows = ((section, row) for section in sections for row in range(len(section)))
    for name, (section, row) in tqdm(zip(ids, rows, strict=True), total=len(ids), desc=f"{part} tiles", unit="tile"):
        tile = cut(section, row, spec)[0]
        save_png(np.ascontiguousarray(tile.transpose(1, 2, 0)), out / part / f"{name}.png")
    places = pd.DataFrame({"ID": ids, "path": [f"./{part}/{name}.png" for name in ids]})
    return pd.concat([places, pd.DataFrame(values.round(6), columns=list(panel.genes))], axis=1)


def _values(section: Section, panel: GenePanel, *, corrected: bool) -> np.ndarray:
    values = panel.values(section).astype(np.float64)
    return values - values.mean(axis=0) + panel.mean if corrected else values


if __name__ == "__main__":
    main()
