"""The regression loss as the settings ask for it: a weighted sum of terms, and beside it the likelihood of counts."""

from collections.abc import Sequence
from typing import NamedTuple, final

import numpy as np
import torch
from jaxtyping import Float
from scipy import sparse
from torch import Tensor, nn

from bleep.errors import ConfigError, DataError
from bleep.losses.gather import gather_rows
from bleep.losses.regression import OVER_STEP, TERMS, Rules
from bleep.settings import LossConfig
from bleep.tissue.panel import GenePanel
from bleep.tissue.section import Section


@final
class Terms(nn.Module):
    """The weighted sum of the terms that compare scaled values; no weight of it learns.

    Raises:
        ConfigError: a term is of the panel's best genes, and no panel was given.

    """

    heg: Tensor
    hvg: Tensor

    def __init__(self, config: LossConfig, panel: GenePanel | None = None) -> None:
        super().__init__()
        self.weights, self.delta = config.terms, config.delta
        asked = [name for name in ("heg_mse", "hvg_mse") if name in self.weights]
        if asked and panel is None:
            raise ConfigError(f"loss.{asked[0]} is of genes chosen on training spots, but no panel was given to choose from")
        for name, by in (("heg", "mean"), ("hvg", config.hvg)):
            columns = np.zeros(0, np.int64) if panel is None else panel.top(config.top, by)
            # Not persistent: the panel knows them.
            self.register_buffer(name, torch.from_numpy(columns.astype(np.int64)), persistent=False)

    def forward(self, predicted: Float[Tensor, "batch genes"], measured: Float[Tensor, "batch genes"]) -> Float[Tensor, ""]:
        """Return the sum over this process's spots; terms that are no means over spots are over those of all processes.

        Processes hold equal parts, so that the mean over them is the loss of the whole step.
        """
        rules = Rules(self.delta, self.heg, self.hvg)
        total = predicted.new_zeros(())
        for name, weight in self.weights.items():
            if name in OVER_STEP:
                value = TERMS[name](gather_rows(predicted), gather_rows(measured), rules)
            else:
                value = TERMS[name](predicted, measured, rules)
            total = total + weight * value
        return total


class Counts(NamedTuple):
    """What was counted in every training spot."""

    counts: Float[Tensor, "spots genes"]
    """Of the panel's genes."""
    log_exposure: Float[Tensor, " spots"]
    """Logarithm of a spot's total over the panel's target: what a rate is multiplied by to be a count."""


def counts_of(sections: Sequence[Section], panel: GenePanel) -> Counts:
    """Return the counts of the spots of these sections.

    Raises:
        DataError: a section holds values that are not whole numbers.

    """
    tables, totals = [], []
    for section in sections:
        every = sparse.csr_matrix(section.counts.X, dtype=np.float64)
        odd = every.data[every.data != np.round(every.data)]
        if len(odd):
            raise DataError(
                f"section {section.name}: holds {odd[0]:g}, which is no whole number, but loss.nb is a likelihood of counts: "
                "give counts, or set loss.nb to 0"
            )
        table = every[:, panel.columns(section)].toarray()
        tables.append(table)
        totals.append(table.sum(axis=1) if panel.denominator == "panel" else np.asarray(every.sum(axis=1)).ravel())
    # A spot without counts is taken to have one: its counts are all 0 whatever its total is.
    exposure = np.log(np.maximum(np.concatenate(totals), 1.0) / panel.target)
    return Counts(torch.from_numpy(np.concatenate(tables)).float(), torch.from_numpy(exposure).float())
