"""Figures of an evaluation: maps on the tissue, scores by gene, genes against each other, the shared space, training."""
