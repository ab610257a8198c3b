"""`panel.pool` sums the counts of the spots around each before they are normalised."""

from dataclasses import replace
from typing import Literal

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from scipy.spatial.distance import cdist

from bleep.config import Config, PanelConfig
from bleep.data import normalize
from bleep.data.normalize import normalised
from bleep.data.panel import GenePanel
from bleep.data.section import Section
from bleep.data.toy import toy_section
from bleep.errors import ConfigError
from bleep.evaluation.protocols import named

RADIUS = 40.0


@pytest.fixture(scope="module")
def section() -> Section:
    return toy_section("toy", "donor", 3, side=256, pitch=24)


def by_hand(section: Section, panel: GenePanel) -> np.ndarray:
    counts = section.counts[:, list(panel.genes)].X.toarray().astype(float)
    every = counts if panel.denominator == "panel" else section.counts.X.toarray().astype(float)
    near = cdist(section.xy * section.mpp, section.xy * section.mpp) <= RADIUS
    assert near.sum(axis=1).max() > 4
    summed, total = near @ counts, near @ every.sum(axis=1)
    return np.log1p(summed / total[:, None] * panel.target)


@pytest.mark.parametrize("denominator", ["all", "panel"])
@pytest.mark.parametrize("rows", [7, 8_192])
def test_values_are_those_of_the_summed_counts(
    section: Section, rows: int, denominator: Literal["all", "panel"], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(normalize, "POOLED_ROWS", rows)
    panel = GenePanel.fit([section], PanelConfig(size=12, pool=RADIUS, denominator=denominator))
    expected = by_hand(section, panel)
    np.testing.assert_allclose(panel.values(section), expected, rtol=1e-6)
    np.testing.assert_allclose(panel.mean, expected.mean(axis=0), rtol=1e-9)


def test_bins_that_lie_just_as_far_as_the_radius_are_in_for_every_bin(section: Section) -> None:
    """Grids lie a little turned on their pictures, so rounding puts a ring of bins within the radius here, beyond it there."""
    grid = np.indices((15, 15)).reshape(2, -1).T * 8.0
    turn = np.array([[np.cos(0.02), np.sin(0.02)], [-np.sin(0.02), np.cos(0.02)]])
    counts = AnnData(np.ones((225, 2), np.float32), obs=pd.DataFrame(index=[f"bin{number}" for number in range(225)]))
    for radius, near in ((8.0, 5), (16.0, 13), (40.0, 81)):
        counts.X[:, 1] = np.where((grid == 56).all(axis=1), 10_000, 0)
        bins = replace(section, counts=counts, xy=(grid @ turn + 40) / 0.7351, mpp=0.7351)
        values = normalised(bins, np.array([1]), PanelConfig(pool=radius)).toarray()[:, 0]
        assert (values > 0).sum() == near


def test_the_scale_and_the_file_of_the_panel_say_so(section: Section) -> None:
    pooled, plain = (GenePanel.fit([section], PanelConfig(size=12, pool=radius)) for radius in (RADIUS, 0.0))
    assert "counts summed over the spots within 40 um" in pooled.describe()
    assert GenePanel.from_dict(pooled.to_dict()).pool == RADIUS
    assert "pool" not in plain.to_dict()
    assert pooled.digest() != plain.digest()
    assert len(set(pooled.genes) & set(plain.genes)) > 6


def test_the_genes_of_many_pooled_spots_are_chosen_on_some(section: Section, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = GenePanel.fit([section], PanelConfig(size=12, pool=RADIUS))
    monkeypatch.setattr(normalize, "CHOSEN_ON", len(section) // 2)
    half = GenePanel.fit([section], PanelConfig(size=12, pool=RADIUS))
    assert len(set(half.genes) & set(whole.genes)) > 8
    shared = [half.genes.index(gene) for gene in half.genes if gene in whole.genes]
    there = [whole.genes.index(half.genes[at]) for at in shared]
    np.testing.assert_array_equal(half.mean[shared], whole.mean[there])


def test_spots_of_one_side_lend_nothing_to_the_other(section: Section) -> None:
    """Values of a part come from the counts of that part alone, so none of test tissue reaches training tissue."""
    panel = GenePanel.fit([section], PanelConfig(size=12, pool=RADIUS))
    left = section.subset(np.flatnonzero(section.xy[:, 0] < 128))
    other = section.counts.copy()
    other.X = (np.diag(np.where(section.xy[:, 0] < 128, 1.0, 0.0)) @ other.X.toarray()).astype(np.float32)
    emptied = replace(section, counts=other).subset(np.flatnonzero(section.xy[:, 0] < 128))
    np.testing.assert_array_equal(panel.values(left), panel.values(emptied))


def test_large_sections_are_measured_block_by_block(section: Section, monkeypatch: pytest.MonkeyPatch) -> None:
    rule = PanelConfig(size=12)
    whole = GenePanel.fit([section], rule)
    monkeypatch.setattr(normalize, "ROWS", 10)
    parts = GenePanel.fit([section], rule)
    assert parts.genes == whole.genes
    np.testing.assert_allclose(parts.mean, whole.mean, rtol=1e-12)
    np.testing.assert_array_equal(parts.values(section), whole.values(section))
    monkeypatch.undo()
    hvg = GenePanel.fit([section], PanelConfig(size=12, choice="hvg"))
    monkeypatch.setattr(normalize, "ROWS", 10)
    assert GenePanel.fit([section], PanelConfig(size=12, choice="hvg")).genes == hvg.genes


@pytest.mark.parametrize("more", [{"panel": {"normalise": "none"}}, {"loss": {"task": "regression", "nb": 1.0}}])
def test_what_it_does_not_go_with_is_refused(more: dict[str, dict[str, object]]) -> None:
    panel = {"pool": 30.0, **more.get("panel", {})}
    with pytest.raises(ConfigError, match=r"panel\.pool sums counts before they are normalised"):
        Config.load({**more, "data": {"source": "toy", "root": "."}, "panel": panel})


def test_no_protocol_allows_it() -> None:
    config = Config.load("her2st-c")
    pooled = config.model_copy(update={"panel": config.panel.model_copy(update={"pool": 20.0})})
    assert ("panel.pool", 0.0, 20.0) in named("her2st-c").differences(pooled)
