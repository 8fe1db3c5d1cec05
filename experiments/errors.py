"""Errors that end a command with one clear message and an exit code of their own."""


class ExperimentError(Exception):
    """A failure to explain in words, without a traceback.

    Attributes:
      exit_code: what the process exits with.
    """

    exit_code = 1


class UsageError(ExperimentError, ValueError):
    """What was asked for cannot be done as written: a mistake in a file, a key or a path."""

    exit_code = 2


class DivergedError(ExperimentError):
    """The loss or its gradient stopped being finite."""

    exit_code = 3


class InterruptedRunError(ExperimentError):
    """The run was stopped by a signal after it had saved its state."""

    exit_code = 130
