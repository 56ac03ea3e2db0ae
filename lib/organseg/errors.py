"""The one kind of error and the one kind of warning that users meet."""

import warnings


class OrgansegError(ValueError):
    """Bad input, told in one line: what was found, what was expected, what to do.

    The command line prints the line and exits with status 2; nothing is written.
    """

    def __init__(self, line):
        super().__init__(" ".join(str(line).split()))  # what another program said may have many


class OrgansegWarning(UserWarning):
    """Legal but unusual input: the work goes on, the user should look at the result."""


def warn(line):
    """Warn with one line, as from the place that called the function which found it."""
    warnings.warn(line, OrgansegWarning, stacklevel=3)
