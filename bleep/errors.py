"""What can go wrong, said in one sentence: what was found, where, what was expected, the way out."""


class BleepError(Exception):
    """Base of every error a user can cause and mend; the command line prints it and exits with code 2."""


class ConfigError(BleepError):
    """A setting is unknown, of the wrong kind or contradicts another."""


class DataError(BleepError):
    """An input file is missing, damaged, or does not say what its form promises."""


class MismatchError(BleepError):
    """Two things that must belong together do not: both sides are named."""


class WeightsError(BleepError):
    """Pretrained weights could not be found, fetched or fitted to the trunk."""
