"""Tiles and spots as vectors of the shared space."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Float32

from bleep.config import KeysName
from bleep.data.section import Section
from bleep.data.tiles import Tiles
from bleep.errors import MismatchError
from bleep.features import FeatureReader, Features
from bleep.models.models import Classifier, DualEncoder
from bleep.records import Embeddings
from bleep.runs import Run

CHUNK = 4096
"""Rows passed through a head at a time."""


def tile_features(run: Run, tiles: Tiles) -> Features:
    """Return what the run's trunk says of each tile, over `query.views` views of it."""
    return _reader(run).read(tiles)


def raw_features(run: Run, tiles: Tiles) -> Features:
    """Return the same as the trunk gives it, not standardised by section."""
    return _reader(run).raw().read(tiles)


def share_features(run: Run, tiles: Tiles) -> None:
    """Put what the run's trunk says of these tiles into the cache, each process computing a part; all must call it.

    What an earlier, interrupted call has put there is not computed again.

    Raises:
        MismatchError: the tiles are cut otherwise than the run's own.

    """
    check_tiles(run, tiles)
    _reader(run).share(tiles)


def ready_made(run: Run, sections: Sequence[Section]) -> list[str]:
    """Return a digest of the ready-made features of each section; none: the run's trunk looks at tiles itself."""
    ready = _reader(run).ready
    return [] if ready is None else [ready.digest(section) for section in sections]


def _reader(run: Run) -> FeatureReader:
    # The weights of a finished run stay, so the features of a trunk that learnt may be kept as well as a frozen one's.
    reader = FeatureReader.to_predict(run.model.trunk, run.model.standardize, run.config)
    return replace(reader, cache=run.config.cache / "features")


def embed_tiles(run: Run, tiles: Tiles) -> Embeddings:
    """Embed tiles through the image side, or as a classifier sees them.

    Raises:
        MismatchError: the run was trained by regression, or the tiles are cut otherwise than its own.

    """
    model = run.model.eval() if isinstance(run.model, Classifier) else _dual(run)
    check_tiles(run, tiles)
    return Embeddings(_through(model.embed_features, tile_features(run, tiles), run.device), tiles.ids)


def embed_spots(run: Run, sections: Sequence[Section]) -> Embeddings:
    """Embed measured expression through the expression side.

    Raises:
        MismatchError: the run was trained by regression, or a section does not fit its panel.

    """
    model = _dual(run)
    values = np.concatenate([run.panel.apply(section) for section in sections])
    ids = tuple(name for section in sections for name in section.ids)
    return Embeddings(_through(model.embed_expression, values, run.device), ids)


def without_expression(run: Run, sections: Sequence[Section]) -> str:
    """Return why the measured expression of test sections has no place in a run's shared space; empty: it has one."""
    if run.panel.batch is not None:
        return f"the batch correction ({run.panel.batch.kind}) is known for training spots alone"
    for section in sections:
        if lacking := int((run.panel.columns(section, "zero") < 0).sum()):
            return f"section {section.name} lacks {lacking} of the panel's {len(run.panel.genes)} genes"
    return ""


def embed_queries(run: Run, tiles: Tiles, keys: KeysName = "expression") -> Float32[np.ndarray, "tiles dim"]:
    """Embed tiles so that their inner product with what `embed_keys` gives is the similarity.

    Under `both` it is the mean of the similarities to the spot's expression and to its tile, as one inner product.

    Raises:
        MismatchError: see `embed_tiles`.

    """
    vectors = embed_tiles(run, tiles).vectors
    return _joined(vectors, vectors) if keys == "both" else vectors


def embed_keys(run: Run, sections: Sequence[Section], keys: KeysName = "expression") -> Float32[np.ndarray, "spots dim"]:
    """Embed what measured spots are found by: their expression, their tiles, or both, joined.

    A classifier has no encoder of expression: a labelled tile is found by what it looks like.

    Raises:
        MismatchError: see `embed_tiles` and `embed_spots`.

    """
    if run.model.classifies or keys == "image":
        return embed_tiles(run, run.tiles(tuple(sections))).vectors
    spots = embed_spots(run, sections).vectors
    return _joined(spots, embed_tiles(run, run.tiles(tuple(sections))).vectors) if keys == "both" else spots


def _joined(one: Float32[np.ndarray, "rows half"], other: Float32[np.ndarray, "rows half"]) -> Float32[np.ndarray, "rows dim"]:
    """Join two vectors a row; of such rows the inner product is the mean of those of the halves."""
    return np.concatenate([one, other], axis=1) * np.float32(np.sqrt(0.5))


def through_head(run: Run, features: Features) -> Float32[np.ndarray, "tiles genes"]:
    """Return the scaled values that a run's regression head predicts from features.

    Raises:
        MismatchError: the run is contrastive.

    """
    return _through(run.model.predict_features, features, run.device)


def label_probabilities(run: Run, features: Features) -> Float32[np.ndarray, "tiles classes"]:
    """Return the probability of each label that a run learnt beside expression.

    Raises:
        MismatchError: the run learnt none, or was trained by regression.

    """
    return _through(_dual(run).label_features, features, run.device)


def check_tiles(run: Run, tiles: Tiles) -> None:
    """Refuse tiles cut otherwise than the run's, or of another species.

    Raises:
        MismatchError: both sides are named.

    """
    if tiles.spec != run.spec:
        raise MismatchError(f"tiles of {tiles.spec.describe()} were given to a run trained on {run.spec.describe()}")
    for section in tiles.sections:
        run.panel.check_species(section)


def _dual(run: Run) -> DualEncoder:
    if not isinstance(run.model, DualEncoder):
        raise MismatchError(
            "this run was trained by regression and has no shared space: train one with loss.task contrastive or both"
        )
    run.model.eval()
    return run.model


def _through(head: object, rows: np.ndarray, device: torch.device) -> Float32[np.ndarray, "rows dim"]:
    assert callable(head)
    with torch.no_grad():
        parts = [head(torch.from_numpy(rows[at : at + CHUNK]).to(device)).float().cpu() for at in range(0, len(rows), CHUNK)]
    out: np.ndarray = torch.cat(parts).numpy()
    return out
