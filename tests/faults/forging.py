"""Checkpoints as somebody with bad intentions would write them: every hash fits what it is the hash of."""

import hashlib
import json
import struct
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load, save
from torch import Tensor

from tests.editing import edited
from trajectory_adacat.command_line import run_command


def forge(checkpoint: Path, name: str, content: bytes) -> None:
    """Replace a file of a checkpoint, with its hash."""
    (checkpoint / name).write_bytes(content)
    with edited(checkpoint) as description:
        description["files"][name] = hashlib.sha256(content).hexdigest()


def forge_tensors(checkpoint: Path, name: str, change: Callable[[dict[str, Tensor]], object]) -> None:
    """Change the tensors of a file in place."""
    tensors = load((checkpoint / name).read_bytes())
    change(tensors)
    forge(checkpoint, name, save(tensors))


def safetensors(header: Any, data: bytes = b"", length: int | None = None) -> bytes:
    """Return a safetensors file with any header, and any number in place of the header's length."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def refusal(
    main: Callable[[Sequence[str] | None], object], argv: Sequence[str], capsys: pytest.CaptureFixture[str]
) -> tuple[int, str]:
    """Run a command that ends with an error; return its status and its one paragraph."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as raised:
        run_command(main, argv)
    *_, paragraph = capsys.readouterr().err.strip().splitlines()
    assert paragraph.startswith("error: "), paragraph
    assert isinstance(raised.value.code, int)
    return raised.value.code, paragraph


def peak_bytes() -> int:
    """Return the most memory that this process has used."""
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
