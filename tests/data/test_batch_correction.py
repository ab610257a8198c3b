"""Training sections are made alike; no other tissue is looked at or changed."""

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import sparse
from scipy.spatial import cKDTree

from bleep.config import DataConfig, PanelConfig
from bleep.data.batch_correction import CORRECTIONS, Correction, correction
from bleep.data.panel import GenePanel
from bleep.data.section import Section
from bleep.data.splits import split
from bleep.errors import DataError, MismatchError


def config(batch: str, **over: object) -> PanelConfig:
    return PanelConfig.model_validate({"choice": "all", "batch": batch, **over})


def with_counts(section: Section, change: Any) -> Section:
    counts = section.counts.copy()
    counts.X = sparse.csr_matrix(change(sparse.csr_matrix(counts.X).toarray().astype(np.float32)))
    return replace(section, counts=counts)


@pytest.fixture(scope="module")
def shifted(toys: tuple[Section, ...]) -> tuple[Section, ...]:
    """The same tissue twice, the second time with each gene caught at a rate of its own."""
    rates = np.random.default_rng(1).uniform(0.5, 2.0, toys[0].counts.n_vars).astype(np.float32)
    return toys[0], replace(with_counts(toys[0], lambda counts: np.round(counts * rates)), name="other"), toys[2]


def values(panel: GenePanel, sections: Sequence[Section]) -> list[np.ndarray]:
    return [panel.training_values(section) for section in sections]


def mixing(tables: list[np.ndarray]) -> float:
    """Return the share of foreign spots among the ten nearest of each spot; 0.5 is mixed perfectly."""
    spots = np.concatenate(tables)
    section = np.repeat(np.arange(len(tables)), [len(table) for table in tables])
    nearest = cKDTree(spots).query(spots, k=11)[1][:, 1:]
    return float((section[nearest] != section[:, None]).mean())


def test_centring_makes_gene_means_of_the_sections_equal_and_keeps_the_overall_mean(shifted: tuple[Section, ...]) -> None:
    plain, panel = (GenePanel.fit(shifted[:2], config(batch)) for batch in ("none", "center"))
    before, after = ([table.mean(axis=0) for table in values(each, shifted[:2])] for each in (plain, panel))
    assert np.abs(before[0] - before[1]).max() > 0.5
    np.testing.assert_allclose(after[0], after[1], atol=1e-5)
    np.testing.assert_allclose(panel.mean, plain.mean, atol=1e-6)


def test_centring_shifts_each_gene_of_a_section_by_one_number(shifted: tuple[Section, ...]) -> None:
    panel = GenePanel.fit(shifted[:2], config("center"))
    for section in shifted[:2]:
        moved = panel.training_values(section) - panel.values(section)
        np.testing.assert_allclose(moved, np.broadcast_to(moved[0], moved.shape), atol=1e-5)


def test_harmony_mixes_shifted_sections(shifted: tuple[Section, ...]) -> None:
    plain, panel = (GenePanel.fit(shifted[:2], config(batch)) for batch in ("none", "harmony"))
    before, after = (values(each, shifted[:2]) for each in (plain, panel))
    apart = [float(np.linalg.norm(one.mean(axis=0) - other.mean(axis=0))) for one, other in (before, after)]
    assert mixing(before) < 0.25
    assert mixing(after) > 0.4
    assert apart[1] < 0.4 * apart[0]


def test_harmony_moves_spots_along_thirty_principal_components_alone(shifted: tuple[Section, ...]) -> None:
    panel = GenePanel.fit(shifted[:2], config("harmony"))
    assert panel.batch is not None
    loadings = panel.batch.parts.astype(np.float64)
    assert loadings.shape == (30, len(panel.genes))
    np.testing.assert_allclose(loadings @ loadings.T, np.eye(30), atol=1e-5)
    plain = np.concatenate([panel.values(section) for section in shifted[:2]]).astype(np.float64)
    scores = (plain - plain.mean(axis=0)) @ loadings.T
    singular = np.linalg.svd(plain - plain.mean(axis=0), compute_uv=False)
    np.testing.assert_allclose(np.linalg.norm(scores, axis=0), singular[:30], rtol=1e-4)


def test_more_genes_than_spots_give_the_same_components(shifted: tuple[Section, ...]) -> None:
    few = tuple(section.subset(np.arange(20)) for section in shifted[:2])
    panel = GenePanel.fit(few, config("harmony"))
    assert panel.batch is not None
    loadings = panel.batch.parts.astype(np.float64)
    np.testing.assert_allclose(loadings @ loadings.T, np.eye(30), atol=1e-5)


@pytest.mark.parametrize("batch", CORRECTIONS)
def test_a_correction_is_fitted_twice_alike_and_enters_statistics_and_digest(batch: str, shifted: tuple[Section, ...]) -> None:
    one, two, plain = (GenePanel.fit(shifted[:2], config(kind)) for kind in (batch, batch, "none"))
    assert one.digest() == two.digest() != plain.digest()
    corrected = np.concatenate(values(one, shifted[:2]))
    np.testing.assert_allclose(one.mean, corrected.mean(axis=0), atol=1e-4)
    np.testing.assert_allclose(one.variance, corrected.var(axis=0), atol=1e-4)
    scaled = np.concatenate([one.apply(section) for section in shifted[:2]])
    np.testing.assert_allclose(scaled.std(axis=0), 1, atol=1e-3)
    assert f"corrected by {batch}" in one.describe()
    assert "corrected" not in plain.describe()


@pytest.mark.parametrize("batch", CORRECTIONS)
def test_genes_are_chosen_before_the_correction(batch: str, shifted: tuple[Section, ...]) -> None:
    chosen = [GenePanel.fit(shifted[:2], config(kind, choice="variance", size=9)).genes for kind in ("none", batch)]
    assert chosen[0] == chosen[1]


@pytest.mark.parametrize("by", ["patient", "block"])
@pytest.mark.parametrize("batch", CORRECTIONS)
def test_counts_of_test_and_validation_tissue_change_nothing(batch: str, by: str, toys: tuple[Section, ...]) -> None:
    data = DataConfig.model_validate({"source": "toy", "split": by, "folds": 2, "val": "block" if by == "patient" else "none"})
    parts = split(toys, data)
    held = {name for section in (*parts.test, *parts.val) for name in section.ids}

    def panel(sections: tuple[Section, ...]) -> GenePanel:
        return GenePanel.fit(split(sections, data).train, config(batch))

    def scrambled(section: Section) -> Section:
        mine = np.array([name in held for name in section.ids])
        return with_counts(section, lambda counts: np.where(mine[:, None], counts[:, ::-1] * 3 + 7, counts))

    assert held
    assert panel(toys).digest() == panel(tuple(map(scrambled, toys))).digest()


@pytest.mark.parametrize("batch", CORRECTIONS)
def test_new_tissue_is_not_corrected_and_not_taken_for_training_tissue(batch: str, shifted: tuple[Section, ...]) -> None:
    panel, plain = (GenePanel.fit(shifted[:2], config(kind)) for kind in (batch, "none"))
    for section in shifted:
        np.testing.assert_array_equal(panel.values(section), plain.values(section))
    with pytest.raises(MismatchError, match=rf"toy3: {len(shifted[2])} of its {len(shifted[2])} spots, first 'toy3/"):
        panel.training_values(shifted[2])
    np.testing.assert_array_equal(plain.training_values(shifted[2]), plain.values(shifted[2]))


@pytest.mark.parametrize("batch", CORRECTIONS)
def test_some_spots_of_a_section_get_what_all_of_them_get(batch: str, shifted: tuple[Section, ...]) -> None:
    panel = GenePanel.fit(shifted[:2], config(batch))
    rows = np.array([7, 2, 19])
    some = panel.training_values(shifted[1].subset(rows))
    np.testing.assert_allclose(some, panel.training_values(shifted[1])[rows], atol=1e-6)


def test_blocks_of_sections_are_corrected_and_the_rest_of_the_section_refused(toys: tuple[Section, ...]) -> None:
    parts = split(toys, DataConfig.model_validate({"source": "toy", "split": "block", "folds": 2}))
    panel = GenePanel.fit(parts.train, config("center"))
    means = [table.mean(axis=0) for table in values(panel, parts.train)]
    np.testing.assert_allclose(means, np.broadcast_to(means[0], (len(means), len(means[0]))), atol=1e-5)
    with pytest.raises(MismatchError, match="were not trained on"):
        panel.training_values(parts.test[0])


@pytest.mark.parametrize("batch", CORRECTIONS)
def test_one_section_alone_cannot_be_corrected(batch: str, toys: tuple[Section, ...]) -> None:
    with pytest.raises(DataError, match=f"panel.batch is {batch}.*toy1 is the only one; train on two or more"):
        GenePanel.fit(toys[:1], config(batch))
    assert GenePanel.fit(toys[:1], config("none")).batch is None


def test_harmony_names_what_it_lacks(toys: tuple[Section, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    flat = tuple(with_counts(section, np.ones_like) for section in toys[:2])
    with pytest.raises(DataError, match="no gene of the panel varies"):
        GenePanel.fit(flat, config("harmony"))
    monkeypatch.setitem(sys.modules, "harmonypy", None)
    with pytest.raises(DataError, match=r"needs the extra harmony: pip install -e '\.\[harmony\]'"):
        GenePanel.fit(toys[:2], config("harmony"))


def test_harmony_works_on_a_handful_of_spots(toys: tuple[Section, ...]) -> None:
    few = tuple(section.subset(np.arange(4)) for section in toys[:2])
    assert np.isfinite(np.concatenate(values(GenePanel.fit(few, config("harmony")), few))).all()


@pytest.mark.parametrize("batch", CORRECTIONS)
def test_a_correction_survives_its_file(batch: str, shifted: tuple[Section, ...], tmp_path: Path) -> None:
    panel = GenePanel.fit(shifted[:2], config(batch))
    assert panel.batch is not None
    panel.batch.save(tmp_path / "batch.safetensors")
    loaded = Correction.load(tmp_path / "batch.safetensors")
    again = GenePanel.from_dict(panel.to_dict(), loaded)
    assert again.digest() == panel.digest()
    np.testing.assert_array_equal(again.apply(shifted[1]), panel.apply(shifted[1]))


def test_a_damaged_or_foreign_correction_is_refused(shifted: tuple[Section, ...], tmp_path: Path) -> None:
    path = tmp_path / "batch.safetensors"
    panel, other = (GenePanel.fit(shifted[:2], config(batch)) for batch in ("center", "harmony"))
    assert panel.batch is not None
    assert other.batch is not None
    for wrong in (None, other.batch, replace(panel.batch, parts=panel.batch.parts + 1)):
        with pytest.raises(DataError, match="not the one it was fitted with"):
            GenePanel.from_dict(panel.to_dict(), wrong)
    with pytest.raises(DataError, match="no such file"):
        Correction.load(path)
    panel.batch.save(path)
    whole = path.read_bytes()
    for bytes_ in (b"", whole[: len(whole) // 2], b"\xff" * 200, whole.replace(b'"kind"', b'"mind"')):
        path.write_bytes(bytes_)
        with pytest.raises(DataError, match=r"batch\.safetensors: is damaged"):
            Correction.load(path)
    with pytest.raises(DataError, match="garbles"):
        GenePanel.from_dict({**panel.to_dict(), "batch": "center"}, panel.batch)


def test_nothing_is_corrected_without_being_asked(toys: tuple[Section, ...]) -> None:
    assert correction("none", np.zeros((2, 3)), toys[:2]) is None
