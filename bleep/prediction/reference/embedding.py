"""Measured sections as spots of a reference."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, final

import numpy as np
import pandas as pd
from jaxtyping import Float32
from scipy import sparse
from tqdm import tqdm

from bleep.prediction.embed import embed_spots
from bleep.prediction.expression import ExpressionStore, FormName
from bleep.prediction.storing import SPARSE, Block, stored
from bleep.runs import Run
from bleep.tissue.section import Section


@final
@dataclass(frozen=True, slots=True)
class Held:
    """Spots on their way into a reference."""

    vectors: Float32[np.ndarray, "spots dim"]
    """Their embeddings."""
    expression: ExpressionStore
    """Their values."""
    spots: pd.DataFrame
    """See `Section.frame`."""
    why: str = ""
    """Why the values are kept in this form."""


def embedded(run: Run, sections: Sequence[Section], form: Literal["auto"] | FormName) -> Held:
    """Embed the measured expression of sections, one after another.

    Raises:
        MismatchError: a section lacks genes of the panel, is of another species, or there is a batch correction that does
            not know it; or the run was trained by regression.
        DataError: float16 is asked for, and a value is too large for it.

    """
    vectors: list[Float32[np.ndarray, "spots dim"]] = []
    blocks: list[Block] = []
    for section in tqdm(sections, desc="embedding spots", unit="section", leave=False):
        vectors.append(embed_spots(run, (section,)).vectors)
        values = run.panel.training_values(section)
        # Compressed at once where it pays, so that the values of many sections fit into memory.
        blocks.append(sparse.csr_matrix(values) if np.count_nonzero(values) <= SPARSE * values.size else values)
    store, why = stored(blocks, form)
    return Held(np.concatenate(vectors), store, pd.concat([section.frame() for section in sections]), why)
