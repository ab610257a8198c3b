"""Sections of files, read once for several runs."""

import json
from typing import final

from bleep.config import Config
from bleep.data.readers import read_sections
from bleep.data.section import Section
from bleep.data.splits import Split
from bleep.workflows.fit import divide

SPLIT_ONLY = {"protocol", "split", "test", "folds", "fold", "val", "val_share", "blocks", "margin"}
"""Settings of `data` that do not change what is read."""


@final
class Tissue:
    """Sections of files, read once for all the runs that name them alike."""

    def __init__(self) -> None:
        self._sections: dict[str, tuple[Section, ...]] = {}

    def split(self, config: Config) -> Split:
        """Return the sections of a configuration, divided as it says.

        Raises:
            DataError, ConfigError: see `read_sections` and `bleep.split`.

        """
        what = config.data.model_dump(mode="json", exclude=SPLIT_ONLY) | {"cache": str(config.cache)}
        key = json.dumps(what, sort_keys=True)
        if key not in self._sections:
            self._sections[key] = read_sections(config.data, config.cache)
        return divide(self._sections[key], config)
