"""What of a run was fitted on which sections, and whether anything of the test tissue took part."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Float, UInt64
from scipy import sparse
from scipy.spatial import cKDTree

from bleep.config import PanelConfig
from bleep.data.panel import GenePanel
from bleep.data.section import Section
from bleep.data.slides import MosaicSlide, PatchSlide
from bleep.data.slides.base import file_digest
from bleep.data.splits import Split
from bleep.errors import BleepError
from bleep.models.heads import floored
from bleep.records import Fitted, LeakFinding, LeakReport

KINDS: Mapping[str, str] = {
    "random split": "test spots lie between training spots",
    "neighbouring tissue": "test and training spots are parts of one section",
    "same patient": "other sections of a test patient were trained on",
    "unknown patient": "nobody said whom a section is from",
    "same tissue": "picture, positions and counts of a test section were trained on",
    "duplicate": "spots of a test section have the very counts or ready-cut pictures of training spots, under other names",
    "same picture": "a test section lies on a picture that was trained on",
    "panel": "genes, or their means and variances, come from more than the training sections",
    "scaling": "what the model's input is scaled by comes from more than the training sections",
    "standardising": "what features are standardised by comes from more than the training tiles",
    "batch correction": "a correction between sections was fitted with test spots",
    "index": "the reference answers with test spots",
    "corrector": "weights, k or intervals were fitted with test tissue",
    "validation": "validation spots lie between training spots",
}
"""Every kind of finding."""
SEVERITIES = ("leak", "caution", "unknown")
ENOUGH = 10
"""Spots in which fewer genes were seen may have the same counts by chance."""
FEW = 3
"""Rows of values with fewer that are not 0 may be alike by chance."""
HASH = np.uint64(0x9E3779B97F4A7C15)
"""An odd number that scatters bits (Knuth's multiplicative hash)."""

Codes = UInt64[np.ndarray, " spots"]


def report(run: str, divided: Split, fitted: Sequence[Fitted], found: Sequence[LeakFinding]) -> LeakReport:
    """Return the report: what the split shares, what names of test sections stand in what was fitted, and what was found."""
    findings = [*of_split(divided), *of_names(fitted, divided), *found]
    findings.sort(key=lambda finding: SEVERITIES.index(finding.severity))
    return LeakReport(run, tuple(fitted), tuple(dict.fromkeys(findings)))


def of_split(divided: Split) -> Iterator[LeakFinding]:
    """Yield what the two sides share, looked at anew: nothing that was noted when training began is trusted."""
    if divided.by == "random":
        yield LeakFinding("random split", "leak", "test spots lie between training spots, which show nearly the same tissue")
    if divided.by == "block":
        yield LeakFinding("neighbouring tissue", "caution", "test spots lie in other blocks of the sections trained on")
    trained, test = (*divided.train, *divided.val), divided.test
    if divided.by in ("random", "block"):
        return
    shared = sorted({section.patient for section in trained} & {section.patient for section in test})
    if shared:
        yield LeakFinding("same patient", "caution", f"other sections of patient {', '.join(shared)} were trained on")
    unnamed = sorted(section.name for section in (*trained, *test) if section.patient == section.name)
    if unnamed:
        yield LeakFinding("unknown patient", "unknown", f"nobody said whom {', '.join(unnamed)} is from: give data.patients")
    if test:
        # Once for all test sections: of ready-cut tiles each file counts.
        known = [(section, section.digest(), _tiles_of(section)) for section in trained]
        for one in test:
            yield from _same(one, known)


def of_names(fitted: Sequence[Fitted], divided: Split) -> Iterator[LeakFinding]:
    """Yield what names a test section among those it was fitted on."""
    if divided.by in ("random", "block"):
        return
    held = {section.name for section in divided.test}
    for one in fitted:
        inside = [name for name in one.sections if name in held]
        if inside:
            yield LeakFinding(
                one.what, "leak", f"test section {', '.join(inside)} was among those the {one.what} was fitted on"
            )


def of_spots(what: str, ids: Sequence[str], divided: Split) -> Iterator[LeakFinding]:
    """Yield a finding where test spots stand among the spots (`section/spot`) something was fitted on."""
    held = set(ids) & {name for section in divided.test for name in section.ids}
    if held:
        yield LeakFinding(what, "leak", f"{len(held)} test spots, first {min(held)}, are among those of the {what}")


def of_panel(panel: GenePanel, config: PanelConfig, divided: Split) -> Iterator[LeakFinding]:
    """Yield what the panel holds that a panel fitted anew on the training sections does not."""
    try:
        anew = GenePanel.fit(divided.train, config)
    except BleepError as error:
        yield LeakFinding("panel", "unknown", f"the panel cannot be fitted anew to compare ({error})")
        return
    parts = {"panel": ("mean", "variance"), "scaling": ("low", "high", "shift", "factor")}
    off = [what for what, names in parts.items() if not _alike(panel, anew, names)]
    if not off:
        return
    both = _with_test(divided, config)
    for what in off:
        if both is not None and _alike(panel, both, parts[what]):
            why = "it is what training and test sections give together"
        else:
            why = "it was fitted on other sections, or by another version of bleep"
        yield LeakFinding(what, "leak", f"the {what} is not what the training sections alone give: {why}")


def of_standardiser(
    mean: Float[np.ndarray, " features"], features: Float[np.ndarray, "spots features"]
) -> Iterator[LeakFinding]:
    """Yield a finding where features are standardised by another mean than that of the training tiles."""
    expected, spread = features.mean(axis=0, dtype=np.float64), features.std(axis=0, dtype=np.float64)
    off = np.abs(mean - expected) / floored(spread)
    if off.max(initial=0.0) > 0.01:
        detail = f"features are standardised by a mean up to {off.max():.2f} spreads away from that of the training tiles"
        yield LeakFinding("standardising", "leak", detail)


def lines(reports: Sequence[LeakReport]) -> list[str]:
    """Say several reports in a few lines: what is clean over all runs, then each finding once."""
    if not reports:
        return []
    found = dict.fromkeys(finding for one in reports for finding in one.findings)
    wrong = {finding.kind for finding in found}
    things = dict.fromkeys(fitted.what for one in reports for fitted in one.fitted if fitted.sections)
    clean = [what for what in things if what not in wrong]
    elsewhere = dict.fromkeys(
        f"{fitted.what}: {fitted.detail}" for one in reports for fitted in one.fitted if not fitted.sections and fitted.detail
    )
    runs = "1 run" if len(reports) == 1 else f"{len(reports)} runs"
    first = f"{runs} looked at; fitted on training sections alone: {', '.join(clean) or 'nothing'}"
    return [first, *(f"{f.severity.upper()}, {f.kind}: {f.detail}" for f in found), *elsewhere]


def spot_codes(section: Section) -> tuple[Codes, np.ndarray]:
    """Return a number for each spot that depends on its genes' names and counts alone, and how many genes were seen in it."""
    # A copy of another type shares its indices with the counts: dropping zeros from them there would scramble these.
    counts = sparse.csr_matrix(section.counts.X, dtype=np.float64, copy=True)
    counts.eliminate_zeros()
    genes = pd.util.hash_array(section.genes.to_numpy(dtype=object))
    mixed = (genes[counts.indices] ^ (counts.data.view(np.uint64) * HASH)) * HASH
    mixed ^= mixed >> np.uint64(31)
    running = np.concatenate([np.zeros(1, np.uint64), np.cumsum(mixed, dtype=np.uint64)])
    # Sums run over at 2^64, and their differences are right all the same.
    codes: Codes = running[counts.indptr[1:]] - running[counts.indptr[:-1]]
    return codes, np.diff(counts.indptr)


def repeated(test: Section, other: Section) -> int:
    """Return how many spots of a test section have the very counts of spots of another; 0 where chance may explain them."""
    codes, seen = spot_codes(test)
    return _beyond_chance(int(np.isin(codes[seen >= ENOUGH], spot_codes(other)[0]).sum()), len(test))


def repeated_tiles(test: Section, other: Section) -> int:
    """Return how many ready-cut pictures of a test section are those of another, however named; 0 where chance may be why.

    Those that look alike, such as bare glass, count once.
    """
    return _alike_tiles(_tiles_of(test), _tiles_of(other))


def copied(test: Section, other: Section) -> bool:
    """Return whether another section has counts or ready-cut pictures of a test section."""
    return bool(repeated(test, other) or repeated_tiles(test, other))


def pictures_of(section: Section) -> tuple[Path, ...]:
    """Return the files of the ready-cut pictures of a section's spots, not of those left out of it or held out beside it.

    None where tiles are cut from a slide.
    """
    slide = section.slide
    if not isinstance(slide, MosaicSlide | PatchSlide):
        return ()
    return tuple(slide.paths[row] for row in np.unique(cKDTree(slide.centres()).query(section.xy)[1]))


def _tiles_of(section: Section) -> frozenset[str]:
    return frozenset(map(file_digest, pictures_of(section)))


def _alike_tiles(one: frozenset[str], two: frozenset[str]) -> int:
    return _beyond_chance(len(one & two), len(one))


def repeated_values(values: Float[np.ndarray, "spots genes"], others: Iterable[Float[np.ndarray, "_ genes"]]) -> int:
    """Return how many rows of values stand among others, told to half precision; 0 where chance may explain them."""
    rows = [row.tobytes() for row in values[(values != 0).sum(axis=1) > FEW].astype(np.float16)]
    there = {row.tobytes() for block in others for row in np.asarray(block).astype(np.float16)}
    return _beyond_chance(sum(row in there for row in rows), len(values))


def _beyond_chance(twice: int, spots: int) -> int:
    return twice if twice > max(2, 0.01 * spots) else 0


def _same(test: Section, known: Sequence[tuple[Section, str, frozenset[str]]]) -> Iterator[LeakFinding]:
    mine, tiles = test.digest(), _tiles_of(test)
    for section, digest, theirs in known:
        if digest == mine:
            yield LeakFinding(
                "same tissue", "leak", f"test section {test.name} is section {section.name}, which was trained on"
            )
        elif twice := repeated(test, section):
            detail = (
                f"{twice} of {len(test)} spots of test section {test.name} have the counts of spots of section {section.name}"
            )
            yield LeakFinding("duplicate", "leak", f"{detail}, which was trained on")
        elif twice := _alike_tiles(tiles, theirs):
            detail = f"{twice} ready-cut pictures of test section {test.name} are those of section {section.name}"
            yield LeakFinding("duplicate", "leak", f"{detail}, with other counts, which was trained on")
        elif section.slide.digest() == test.slide.digest():
            detail = f"test section {test.name} lies on the picture of section {section.name}, which was trained on"
            yield LeakFinding("same picture", "caution", detail)


def _alike(one: GenePanel, other: GenePanel, names: Sequence[str]) -> bool:
    if one.genes != other.genes:
        return False
    return all(_near(getattr(one, name), getattr(other, name)) for name in names)


def _near(one: np.ndarray, other: np.ndarray) -> bool:
    """Return whether statistics are the same, whatever unit values are in."""
    size = float(np.abs(other[np.isfinite(other)]).max(initial=0.0))
    return np.allclose(one, other, rtol=1e-4, atol=1e-6 * min(size, 1.0))


def _with_test(divided: Split, config: PanelConfig) -> GenePanel | None:
    try:
        return GenePanel.fit((*divided.train, *divided.test), config)
    except BleepError:
        return None
