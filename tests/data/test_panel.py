"""The panel sees training tissue alone, and gives back what it was given."""

from dataclasses import replace
from pathlib import Path

import anndata
import numpy as np
import pytest
from scipy import sparse

from bleep.config import DataConfig, PanelConfig
from bleep.data.normalize import CHOICES, SCALES, ColumnStats, dispersion
from bleep.data.panel import GenePanel
from bleep.data.section import Section
from bleep.data.splits import split
from bleep.errors import DataError, MismatchError


def config(**over: object) -> PanelConfig:
    return PanelConfig.model_validate({"size": 12, **over})


def dense(section: Section) -> np.ndarray:
    return sparse.csr_matrix(section.counts.X).toarray().astype(np.float64)


def with_counts(section: Section, matrix: np.ndarray) -> Section:
    counts = section.counts.copy()
    counts.X = sparse.csr_matrix(matrix.astype(np.float32))
    return replace(section, counts=counts)


@pytest.mark.parametrize("by", ["patient", "section", "block", "random"])
def test_the_panel_never_sees_test_spots(by: str, toys: tuple[Section, ...]) -> None:
    def panel(sections: tuple[Section, ...]) -> GenePanel:
        data = DataConfig.model_validate({"source": "toy", "split": by, "folds": 2})
        return GenePanel.fit(split(sections, data).train, config(choice="hvg", size=5, scale="robust", clip=0.01))

    data = DataConfig.model_validate({"source": "toy", "split": by, "folds": 2})
    held = {name for section in split(toys, data).test for name in section.ids}
    changed = []
    for section in toys:
        mine = np.array([name in held for name in section.ids])
        matrix = dense(section)
        matrix[mine] = matrix[mine][:, ::-1] * 3 + 7
        changed.append(with_counts(section, matrix))
    assert panel(toys).digest() == panel(tuple(changed)).digest()
    every = tuple(with_counts(section, dense(section)[:, ::-1] * 3 + 7) for section in toys)
    assert panel(toys).digest() != panel(every).digest()


@pytest.mark.parametrize("scale", SCALES)
def test_unscaling_takes_scaling_back(scale: str, toys: tuple[Section, ...]) -> None:
    panel = GenePanel.fit(toys[:2], config(scale=scale))
    values = panel.values(toys[3])
    np.testing.assert_allclose(panel.unscaled(panel.scaled(values)), values, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("clip", [0.0, 0.05])
@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("normalise", ["log1p", "none"])
def test_unscaling_is_exact_within_the_clipped_range_for_every_target(
    scale: str, clip: float, normalise: str, toys: tuple[Section, ...]
) -> None:
    # One gene never varies: it must come back too.
    flat = []
    for section in toys[:2]:
        matrix = dense(section)
        matrix[:, 3] = 0
        flat.append(with_counts(section, matrix))
    panel = GenePanel.fit(flat, config(choice="all", scale=scale, clip=clip, normalise=normalise))
    values = np.concatenate([panel.values(section) for section in flat])
    back = panel.unscaled(panel.scaled(values))
    np.testing.assert_allclose(back, np.clip(values, panel.low, panel.high), rtol=1e-5, atol=1e-5)
    assert np.isfinite(panel.scaled(values)).all()
    if clip:
        assert (np.abs(back - values) > 1e-3).mean() < 2 * clip + 0.02


def test_values_below_0_are_kept_as_they_are_and_are_no_counts(toys: tuple[Section, ...]) -> None:
    centred = with_counts(toys[0], dense(toys[0]) * 0.01 - 0.05)
    panel = GenePanel.fit([centred], config(normalise="none", choice="all"))
    np.testing.assert_allclose(panel.values(centred), dense(centred), rtol=1e-6)
    with pytest.raises(DataError, match=r"section toy1: holds negative values \(least -0\.05\).*set it to none"):
        GenePanel.fit([centred], config(choice="all"))


def test_z_scores_have_mean_0_and_spread_1_over_the_training_spots(toys: tuple[Section, ...]) -> None:
    panel = GenePanel.fit(toys[:2], config(scale="zscore"))
    scaled = np.concatenate([panel.apply(section) for section in toys[:2]])
    np.testing.assert_allclose(scaled.mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(scaled.std(axis=0), 1, atol=1e-4)


def test_min_max_fills_0_to_1_and_clipping_bounds_new_values(toys: tuple[Section, ...]) -> None:
    panel = GenePanel.fit(toys[:2], config(scale="minmax", clip=0.05))
    train, new = np.concatenate([panel.apply(s) for s in toys[:2]]), panel.apply(toys[2])
    assert train.min() == pytest.approx(0, abs=1e-6)
    assert train.max() == pytest.approx(1, abs=1e-6)
    assert new.min() > -1e-6
    assert new.max() < 1 + 1e-6


@pytest.mark.parametrize("denominator", ["all", "panel"])
def test_log1p_values_are_those_of_the_definition(denominator: str, toys: tuple[Section, ...]) -> None:
    panel = GenePanel.fit(toys[:2], config(denominator=denominator, target=1000))
    counts = dense(toys[2])
    columns = toys[2].genes.get_indexer(list(panel.genes))
    total = (counts if denominator == "all" else counts[:, columns]).sum(axis=1, keepdims=True)
    expected = np.log1p(1000 * counts[:, columns] / total)
    np.testing.assert_allclose(panel.values(toys[2]), expected, rtol=1e-5)
    assert "all genes" in panel.describe() if denominator == "all" else "the panel's genes" in panel.describe()


def test_values_may_be_taken_as_they_are(toys: tuple[Section, ...]) -> None:
    panel = GenePanel.fit(toys[:2], config(normalise="none"))
    columns = toys[2].genes.get_indexer(list(panel.genes))
    np.testing.assert_array_equal(panel.values(toys[2]), dense(toys[2])[:, columns])


def test_a_spot_with_no_counts_is_zero_everywhere(toys: tuple[Section, ...]) -> None:
    matrix = dense(toys[2])
    matrix[3] = 0
    assert (GenePanel.fit(toys[:2], config()).values(with_counts(toys[2], matrix))[3] == 0).all()


@pytest.mark.parametrize("clip", [0.0, 0.02])
@pytest.mark.parametrize("scale", SCALES)
def test_a_panel_survives_json(scale: str, clip: float, toys: tuple[Section, ...], tmp_path: Path) -> None:
    from bleep.files import read_json, write_json

    panel = GenePanel.fit(toys[:2], config(scale=scale, clip=clip))
    write_json(tmp_path / "panel.json", panel.to_dict())
    again = GenePanel.from_dict(read_json(tmp_path / "panel.json", "a panel"))
    assert again.digest() == panel.digest()
    np.testing.assert_array_equal(again.apply(toys[2]), panel.apply(toys[2]))


def test_tissue_of_another_species_is_refused(toys: tuple[Section, ...]) -> None:
    panel = GenePanel.fit(toys[:2], config())
    with pytest.raises(MismatchError, match="is of mouse, but the panel was fitted on toy"):
        panel.values(replace(toys[2], species="mouse"))
    assert len(panel.values(replace(toys[2], species="unknown"))) == len(toys[2])


def test_missing_genes_are_refused_by_name(toys: tuple[Section, ...]) -> None:
    panel = GenePanel.fit(toys[:2], config())
    kept = [gene for gene in toys[2].genes if gene != panel.genes[4]]
    poorer = replace(toys[2], counts=toys[2].counts[:, kept].copy())
    with pytest.raises(MismatchError, match=panel.genes[4]):
        panel.values(poorer)


def test_a_gene_that_a_section_does_not_list_is_not_a_number_or_zero_as_asked(toys: tuple[Section, ...]) -> None:
    panel = GenePanel.fit(toys[:2], config())
    kept = [gene for gene in toys[2].genes if gene != panel.genes[4]]
    poorer = replace(toys[2], counts=toys[2].counts[:, kept].copy())
    skipped, filled = panel.values(poorer, "skip"), panel.values(poorer, "zero")
    assert np.isnan(skipped[:, 4]).all()
    assert (filled[:, 4] == 0).all()
    others = np.arange(12) != 4
    np.testing.assert_array_equal(skipped[:, others], filled[:, others])
    assert np.isfinite(skipped[:, others]).all()
    few = replace(toys[2], counts=toys[2].counts[:, list(panel.genes[:6])].copy())
    with pytest.raises(MismatchError, match="lacks 6 of the panel's 12 genes"):
        panel.values(few, "skip")


def test_a_panel_says_how_many_genes_its_training_sections_share(
    toys: tuple[Section, ...], caplog: pytest.LogCaptureFixture
) -> None:
    fewer = replace(toys[1], counts=toys[1].counts[:, toys[1].genes[1:]].copy())
    with caplog.at_level("INFO", logger="bleep.data.panel"):
        GenePanel.fit((toys[0], fewer), config())
    assert f"among the {len(fewer.genes)} genes that all 2 training sections list" in caplog.text


def test_the_order_of_a_sections_genes_does_not_matter(toys: tuple[Section, ...]) -> None:
    panel = GenePanel.fit(toys[:2], config())
    turned = replace(toys[2], counts=toys[2].counts[:, ::-1].copy())
    np.testing.assert_array_equal(panel.values(turned), panel.values(toys[2]))


@pytest.mark.parametrize("choice", CHOICES)
def test_every_choice_gives_genes_that_are_measured_and_stand_once(
    choice: str, toys: tuple[Section, ...], tmp_path: Path
) -> None:
    wanted = ["TOY07", "TOY03", "TOY11"]
    (tmp_path / "genes.txt").write_text("\n".join(wanted))
    asked = config(choice=choice, list=tmp_path / "genes.txt") if choice == "list" else config(choice=choice)
    genes = GenePanel.fit(toys[:2], asked).genes
    assert len(set(genes)) == len(genes)
    assert set(genes) <= set(toys[0].genes)
    if choice == "list":
        assert list(genes) == wanted
    elif choice == "all":
        assert len(genes) == 60
    elif choice == "hvg":
        assert 12 <= len(genes) <= 24
    else:
        assert len(genes) == 12


def test_the_highest_means_and_variances_are_those_of_the_values(toys: tuple[Section, ...]) -> None:
    whole = GenePanel.fit(toys[:2], config(choice="all"))
    for choice, ranks in (("mean", whole.mean), ("variance", whole.variance)):
        best = {whole.genes[column] for column in np.argsort(-ranks)[:12]}
        assert set(GenePanel.fit(toys[:2], config(choice=choice)).genes) == best
    among = {whole.genes[column] for column in np.argsort(-whole.mean)[:20]}
    assert set(GenePanel.fit(toys[:2], config(candidates=20)).genes) <= among


def test_statistics_over_blocks_of_unequal_length_are_those_of_the_whole_table() -> None:
    rng = np.random.default_rng(0)
    tables = [sparse.csr_matrix(rng.poisson(1.0, (rows, 5)) * rng.random((rows, 5))) for rows in (3, 40, 11)]
    whole = sparse.vstack(tables).toarray()
    for rows in (1, 20, 1000):
        found = ColumnStats.of(tables, rows)
        np.testing.assert_allclose(found.mean, whole.mean(axis=0))
        np.testing.assert_allclose(found.variance, whole.var(axis=0))
        np.testing.assert_allclose(found.seen, (whole > 0).mean(axis=0))


def test_dispersion_is_scanpys(toys: tuple[Section, ...]) -> None:
    """Where genes share a bin of the mean: one that is alone in its bin is told 1 there and 0 here."""
    sc = pytest.importorskip("scanpy")
    values = np.log1p(1e4 * dense(toys[0]) / dense(toys[0]).sum(axis=1, keepdims=True))
    found = dispersion([sparse.csr_matrix(values[:50]), sparse.csr_matrix(values[50:])], 60)
    data = anndata.AnnData(values, uns={"log1p": {"base": None}})
    theirs = sc.pp.highly_variable_genes(data, flavor="seurat", n_bins=20, inplace=False)["dispersions_norm"].to_numpy()
    shared = theirs != 1.0
    assert shared.sum() > 40
    np.testing.assert_allclose(found[shared], theirs[shared], atol=1e-4)
    assert (found[~shared] == 0).all()


def test_genes_seen_in_few_spots_can_be_dropped(toys: tuple[Section, ...]) -> None:
    rare = []
    for section in toys[:2]:
        matrix = dense(section)
        matrix[1:, 0] = 0
        rare.append(with_counts(section, matrix))
    assert "TOY01" in GenePanel.fit(rare, config(choice="all")).genes
    assert "TOY01" not in GenePanel.fit(rare, config(choice="all", min_spots=0.1)).genes


def test_a_gene_that_does_not_vary_is_not_divided_by_zero(toys: tuple[Section, ...]) -> None:
    flat = [with_counts(section, np.ones(section.counts.shape)) for section in toys[:2]]
    for scale in SCALES:
        panel = GenePanel.fit(flat, config(scale=scale))
        assert np.isfinite(panel.apply(flat[0])).all()


@pytest.mark.parametrize("scale", ["zscore", "minmax", "robust"])
def test_a_gene_that_is_constant_but_for_rounding_is_not_divided_by_that(scale: str, toys: tuple[Section, ...]) -> None:
    # A quarter of each spot is of one gene; the mean of its logarithms is another in the last digits.
    tables = [3 * dense(section) for section in toys]
    for table in tables:
        table[:, 0] = 0
        table[:, 0] = table.sum(axis=1) / 3
    sections = [with_counts(section, table) for section, table in zip(toys, tables, strict=True)]
    panel = GenePanel.fit(sections, config(choice="all", scale=scale))
    assert panel.factor[0] == 1
    assert np.abs(panel.apply(sections[0])[:, 0]).max() < 1e-5


def test_variable_genes_of_counts_per_million_are_those_of_their_logarithms(toys: tuple[Section, ...]) -> None:
    tables = [dense(section) / dense(section).sum(axis=1, keepdims=True) * 1e6 for section in toys[:2]]
    millions = [with_counts(section, table) for section, table in zip(toys, tables, strict=False)]
    logs = [with_counts(section, np.log1p(table)) for section, table in zip(toys, tables, strict=False)]
    found = [
        GenePanel.fit(sections, config(choice="hvg", size=5, normalise=normalise, target=1e6)).genes
        for sections, normalise in ((toys[:2], "log1p"), (millions, "none"), (logs, "none"))
    ]
    assert found[0] == found[1] == found[2]


def test_a_list_of_genes_may_not_be_other_than_text(toys: tuple[Section, ...], tmp_path: Path) -> None:
    (tmp_path / "genes.txt").write_bytes(b"\xff\xfe\x00TOY01")
    with pytest.raises(DataError, match=r"genes\.txt"):
        GenePanel.fit(toys[:2], config(choice="list", list=tmp_path / "genes.txt"))


def test_sections_that_share_no_gene_are_refused(toys: tuple[Section, ...]) -> None:
    other = toys[1].counts.copy()
    other.var_names = [f"ENS{number}" for number in range(60)]
    with pytest.raises(DataError, match="share no gene"):
        GenePanel.fit((toys[0], replace(toys[1], counts=other)), config())


def test_a_panel_with_parts_of_unequal_length_is_refused(toys: tuple[Section, ...]) -> None:
    plain = GenePanel.fit(toys[:2], config()).to_dict()
    plain["mean"] = plain["mean"][:-1]
    with pytest.raises(DataError, match="damaged"):
        GenePanel.from_dict(plain)


def test_a_panel_holds_the_range_over_training_spots_and_an_older_one_bounds_nothing(toys: tuple[Section, ...]) -> None:
    panel = GenePanel.fit(toys[:2], config())
    measured = np.concatenate([panel.training_values(section) for section in toys[:2]])
    assert panel.range is not None
    np.testing.assert_allclose(panel.range, [measured.min(axis=0), measured.max(axis=0)], rtol=1e-6)
    far = measured[:3].copy()
    far[1, 0], far[2, 1] = 1e3, -1e3
    held, changed = panel.bounded(far)
    np.testing.assert_array_equal(changed, [False, True, True])
    least, most = panel.range
    np.testing.assert_allclose([held[1, 0], held[2, 1]], [1.25 * most[0] - 0.25 * least[0], 1.25 * least[1] - 0.25 * most[1]])
    plain = panel.to_dict()
    plain["range"] = plain["range"][::-1]
    with pytest.raises(DataError, match="'range'"):
        GenePanel.from_dict(plain)
    del plain["range"]
    older = GenePanel.from_dict(plain)
    assert "range" not in older.to_dict()
    np.testing.assert_array_equal(older.bounded(far)[0], far)


def test_included_genes_come_after_the_chosen_ones_and_change_none_of_them(toys: tuple[Section, ...]) -> None:
    plain = GenePanel.fit(toys[:2], PanelConfig(size=10))
    left = [str(gene) for gene in toys[0].genes if gene not in plain.genes][:2]
    wide = GenePanel.fit(toys[:2], PanelConfig(size=10, include=(plain.genes[3], left[1], left[0], left[1])))
    assert wide.genes == (*plain.genes, left[1], left[0])
    np.testing.assert_array_equal(wide.mean[:10], plain.mean)
    assert np.isfinite(wide.variance).all()


def test_an_included_gene_that_is_not_measured_is_named_with_the_nearest(toys: tuple[Section, ...]) -> None:
    known = str(toys[0].genes[0])
    with pytest.raises(DataError, match=rf"panel\.include: {known}X is not measured .*did you mean {known}"):
        GenePanel.fit(toys[:2], PanelConfig(size=10, include=(f"{known}X",)))
