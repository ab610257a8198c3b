"""The reference: measured spots that answer queries; how it is built, kept, changed and verified."""

from bleep.prediction.reference.building import build
from bleep.prediction.reference.identity import identity
from bleep.prediction.reference.record import Reference, change
from bleep.prediction.reference.verifying import verify

__all__ = ["Reference", "build", "change", "identity", "verify"]
