"""One part of each kind for bleep."""
