"""The reference: measured spots that answer queries; how it is built, kept, changed and verified."""

from bleep.retrieval.reference.build import build, verify
from bleep.retrieval.reference.identity import identity
from bleep.retrieval.reference.reference import Reference, change

__all__ = ["Reference", "build", "change", "identity", "verify"]
