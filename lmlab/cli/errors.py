"""Wrong usage: the one kind of error that ends with status 2 rather than 1."""

from lmlab import LabError


class UsageError(LabError):
    """The words of a command don't fit: an unknown flag, a missing argument."""

    status = 2
