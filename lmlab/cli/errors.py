"""Wrong usage: the only error that ends with status 2 instead of 1."""

from lmlab import LabError


class UsageError(LabError):
    """The arguments of a command are invalid: an unknown flag, a missing argument."""

    status = 2
