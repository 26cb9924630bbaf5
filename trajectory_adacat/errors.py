"""The errors of input that a user can mend: a base class and one subclass for each exit status."""


class InputError(ValueError):
    """Bad input: the message is one paragraph that names the file, the key or the flag, and what to do.

    Commands print it without a traceback and exit with its status.

    Attributes:
        status: exit status of a command that ends with this error.
    """

    status = 2


class DataError(InputError):
    """A dataset, a result or a recording is missing, damaged or not usable."""

    status = 3


class CheckpointError(InputError):
    """A checkpoint is missing, damaged, of another format, or does not fit what it is used for."""

    status = 4


class Interrupted(KeyboardInterrupt):
    """A signal ended the command; the message says what was saved and how to go on.

    Attributes:
        signal: number of the signal.
        has_saved: whether there is something to resume.
    """

    def __init__(self, message: str, signal: int, has_saved: bool = True) -> None:
        super().__init__(message)
        self.signal = signal
        self.has_saved = has_saved
