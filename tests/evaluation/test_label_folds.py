"""Scores of labels over folds whose tissue holds classes in other shares."""

import numpy as np

from bleep.evaluation import labels as scoring
from bleep.predictors.classifier import MajorityPredictor


def test_areas_of_joined_folds_of_other_shares_are_told_fold_by_fold() -> None:
    """What knows only the shares of training tissue tells a class more where it is rarer, and scored far below .5."""
    random = np.random.default_rng(0)
    shares = [(0.2, 0.8), (0.8, 0.2), (0.5, 0.5)]
    truths = [np.eye(2)[(random.random(400) < one).astype(int)] for _, one in shares]
    others = [np.concatenate([t for t in truths if t is not own]).mean(axis=0) for own in truths]
    seen = [np.clip(0.4 + 0.2 * own + 0.2 * random.normal(size=own.shape), 0, 1) for own in truths]
    knows = [one * known for one, known in zip(seen, others, strict=True)]
    parts = {
        scoring.FLOOR: [(np.tile(known, (len(own), 1)), own) for known, own in zip(others, truths, strict=True)],
        "other": list(zip(knows, truths, strict=True)),
    }
    auc = {name: scoring.roc_auc(*(np.concatenate(part) for part in zip(*found, strict=True))) for name, found in parts.items()}
    assert auc[scoring.FLOOR] < 0.4
    each = np.mean([scoring.roc_auc(*part) for part in parts["other"]])
    assert auc["other"] < each - 0.05
    told = scoring.by_folds(auc, parts)
    assert f"{scoring.FLOOR} 0.500, other {each:.3f} (" in told
    assert f"alone has {auc[scoring.FLOOR]:.3f}, not .5" in told
    assert MajorityPredictor.name == scoring.FLOOR
    # Folds of the same shares, and a fold by itself, need no such line.
    alike = {name: [found[2], found[2]] for name, found in parts.items()}
    assert scoring.by_folds({scoring.FLOOR: 0.5}, alike) == ""
    assert scoring.by_folds(auc, {name: found[:1] for name, found in parts.items()}) == ""
    assert scoring.by_folds({}, {}) == ""
