"""Toy tissue, made in memory: see `bleep.data.toy`."""

from dataclasses import replace

from bleep.config import DataConfig
from bleep.data.readers import chosen_names
from bleep.data.section import Section
from bleep.data.toy import toy_sections


def read(data: DataConfig) -> tuple[Section, ...]:
    """Make the four toy sections of two donors, and return those asked for."""
    made = {section.name: section for section in toy_sections()}
    names = chosen_names(list(made), data)
    return tuple(replace(made[name], patient=data.patients.get(name, made[name].patient)) for name in names)
