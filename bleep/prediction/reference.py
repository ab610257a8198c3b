"""The reference: the training spots' embeddings and expression, with a manifest that says what they belong to."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import anndata
import numpy as np
import pandas as pd
from jaxtyping import Float32

from bleep.errors import DataError, MismatchError
from bleep.files import read_json, whole, write_json
from bleep.prediction.embed import embed_spots
from bleep.prediction.search import FlatIndex, measured_recall
from bleep.records import Embeddings
from bleep.runs import Run
from bleep.tissue.section import Section

INDEX, SPOTS, MANIFEST = "index.faiss", "spots.h5ad", "manifest.json"
"""Names inside a reference's folder."""

log = logging.getLogger(__name__)


@final
@dataclass(frozen=True, slots=True)
class Reference:
    """Measured spots that answer queries.

    Raises:
        MismatchError: index, expression and spots are not of one length.

    """

    index: FlatIndex
    """Search over the spots' embeddings."""
    expression: Float32[np.ndarray, "spots genes"]
    """Measured values of the panel's genes, on the normalised scale, batch-corrected if the panel says so."""
    spots: pd.DataFrame
    """One row a spot, indexed by `section/spot`: section, spot, patient, x, y."""
    manifest: dict[str, Any]
    """What it belongs to."""

    def __post_init__(self) -> None:
        lengths = {len(self.index), len(self.expression), len(self.spots)}
        if len(lengths) > 1:
            raise MismatchError(
                f"the reference holds {len(self.index)} vectors, {len(self.expression)} rows of expression and "
                f"{len(self.spots)} spots: its files are of different builds; run `bleep index build` again"
            )

    def __len__(self) -> int:
        return len(self.spots)

    def check(self, run: Run) -> None:
        """Refuse a run that this reference was not built with.

        Raises:
            MismatchError: weights, panel or tile size differ; both sides are named.

        """
        expected = identity(run)
        for key, words in (("tiles", "tile size"), ("panel", "panel"), ("weights", "weights")):
            if self.manifest.get(key) != expected[key]:
                here, there = _short(self.manifest.get(key)), _short(expected[key])
                raise MismatchError(
                    f"the index was built with other {words} ({here}) than this run's ({there}); "
                    "run `bleep index build` again for this run, or name the run it belongs to"
                )
        if self.index.dim != self.manifest.get("dim"):
            raise MismatchError(
                f"the index holds vectors of width {self.index.dim}, its manifest says {self.manifest.get('dim')}: "
                "its files are of different builds; run `bleep index build` again"
            )

    def save(self, folder: str | Path) -> None:
        """Write the folder, whole or not at all."""
        with whole(Path(folder)) as temporary:
            temporary.mkdir(parents=True)
            self.index.save(temporary / INDEX)
            data = anndata.AnnData(
                X=self.expression, obs=self.spots, var=pd.DataFrame(index=pd.Index(self.manifest["genes"], dtype=str))
            )
            data.write_h5ad(temporary / SPOTS)
            write_json(temporary / MANIFEST, {key: value for key, value in self.manifest.items() if key != "genes"})

    @classmethod
    def load(cls, folder: str | Path) -> "Reference":
        """Read a reference.

        Raises:
            DataError: a file is missing or damaged.
            MismatchError: the files are of different builds.

        """
        folder = Path(folder)
        if not folder.is_dir():
            raise DataError(f"{folder}: there is no index; make it with `bleep index build`")
        manifest = read_json(folder / MANIFEST, "the manifest of an index")
        path = folder / SPOTS
        try:
            data = anndata.read_h5ad(path)
        except (OSError, KeyError, ValueError):
            state = "is damaged" if path.exists() else "is not there"
            raise DataError(f"{path}: {state}; make it again with `bleep index build`") from None
        expression = np.asarray(data.X, dtype=np.float32)
        manifest["genes"] = list(data.var_names)
        return cls(FlatIndex.load(folder / INDEX), expression, data.obs, manifest)


def build(run: Run, sections: Sequence[Section]) -> Reference:
    """Embed the training spots and index them.

    Raises:
        MismatchError: a section was not among those the run was trained on.

    """
    known = {facts.digest: facts.name for facts in (*run.facts.train, *run.facts.val)}
    for section in sections:
        if section.digest() not in known:
            raise MismatchError(
                f"section {section.name}: its files are not those the run was trained on ({', '.join(known.values())}); "
                "the index holds training spots alone: set data.root to the same files"
            )
    embeddings: Embeddings = embed_spots(run, sections)
    index = FlatIndex.build(embeddings.vectors)
    manifest = identity(run) | {
        "version": run.facts.version,
        "kind": run.config.index.kind,
        "metric": "inner product",
        "spots": len(index),
        "dim": index.dim,
        "recall_at_10": measured_recall(index, embeddings.vectors),
        "scale": run.panel.words(),
        "sections": [section.name for section in sections],
        "genes": list(run.panel.genes),
    }
    expression = np.concatenate([run.panel.training_values(section) for section in sections])
    spots = pd.concat([section.frame() for section in sections])
    return Reference(index, expression, spots, manifest)


def identity(run: Run) -> dict[str, Any]:
    """Return what a reference and a run must share."""
    return {"tiles": run.spec.words(), "panel": run.panel.digest(), "weights": run.weights_digest()}


def _short(value: object) -> str:
    text = str(value)
    return text[:12] if len(text) == 64 else text
