"""What a process takes in memory to read a large dataset, as the system counts it."""

import json
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

READ = """
import json, sys
from pathlib import Path
from trajectory_adacat.datasets import load_dataset

def peak():  # resource's ru_maxrss would begin with the peak of the process that started this one
    (line,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM:")]
    return int(line.split()[1]) * 1024

before = peak()
dataset = load_dataset("own", Path(sys.argv[1]))
print(json.dumps([sum(map(len, dataset.episodes)), peak() - before]))
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
def test_ten_million_transitions_take_less_than_three_times_their_size(tmp_path: Path) -> None:
    path, rows = tmp_path / "own.hdf5", 10_000_000
    with h5py.File(path, "w") as file:
        for name, shape in (("observations", (rows, 3)), ("actions", (rows, 2)), ("rewards", (rows,))):
            file.create_dataset(name, data=np.full(shape, 0.5, np.float32))
        file["terminals"] = np.zeros(rows, bool)
        file["timeouts"] = np.arange(rows) % 1000 == 999
        size = sum(file[name].nbytes for name in file)
    done = subprocess.run([sys.executable, "-c", READ, str(path)], capture_output=True, text=True, check=True)
    read, taken = json.loads(done.stdout)
    assert read == rows
    assert taken < 3 * size, f"{taken / size:.2f} times the data"
    print(f"{taken / size:.2f} times the data's {size / 2**20:.0f} MiB")
