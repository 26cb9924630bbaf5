"""The one error type for input that a user can mend."""


class InputError(ValueError):
    """Bad input: the message is one paragraph that names the file, the key or the flag, and what to do.

    Commands print it without a traceback and exit with status 2.
    """
