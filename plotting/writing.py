"""Write the files that --out names."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from trajectory_adacat.errors import InputError


@contextmanager
def writing(out: Path) -> Iterator[Path]:
    """Create the folder of a file that the block writes, and print the file's name at the end.

    Raises:
        InputError: if it cannot be written.
    """
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        yield out
    except OSError as error:
        raise InputError(f"--out {out} cannot be written: {error.strerror}.") from error
    print(out)
