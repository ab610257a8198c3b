"""Toy tissue, made in memory: see `bleep.tissue.toy`."""

from dataclasses import replace

from bleep.settings import DataConfig
from bleep.tissue.section import Section
from bleep.tissue.sources import chosen_names
from bleep.tissue.toy import toy_sections


def read(data: DataConfig) -> tuple[Section, ...]:
    """Make the four toy sections of two donors, and return those asked for."""
    made = {section.name: section for section in toy_sections()}
    names = chosen_names(list(made), data)
    return tuple(replace(made[name], patient=data.patients.get(name, made[name].patient)) for name in names)
