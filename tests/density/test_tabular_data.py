"""The readers of real tables, on small files of the same formats."""

import io
import pickle
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from trajectory_adacat.density import tabular_data
from trajectory_adacat.density.tabular_data import load_table, read_casp, read_ccpp, read_grid
from trajectory_adacat.errors import DataError, InputError


def test_casp_drops_the_column_of_whole_numbers() -> None:
    text = b'"RMSD","F1","F2","F3","F4","F5","F6","F7","F8","F9"\n' + b"0.5,1,2,3,4,5,6,7,8,9\n" * 2
    assert read_casp(text).tolist() == [[0.5, 1, 2, 3, 4, 5, 6, 7, 9]] * 2


def test_grid_drops_the_sum_and_the_label() -> None:
    names = b'"tau1","tau2","tau3","tau4","p1","p2","p3","p4","g1","g2","g3","g4","stab","stabf"\n'
    row = b'1,2,3,4,5,6,7,8,9,10,11,12,13,"stable"\n'
    assert read_grid(names + row * 2).tolist() == [[1, 2, 3, 4, 6, 7, 8, 9, 10, 11, 12, 13]] * 2


def test_ccpp_reads_the_first_sheet_with_noise_below_the_last_digit() -> None:
    cells = '<row><c t="s"><v>0</v></c><c t="s"><v>1</v></c></row><row><c><v>14.96</v></c><c><v>41.76</v></c></row>'
    sheet = f'<worksheet xmlns="{tabular_data.SPREADSHEET[1:-1]}"><sheetData>{cells}</sheetData></worksheet>'
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("xl/worksheets/sheet1.xml", sheet)
    noise = read_ccpp(file.getvalue()) - [[14.96, 41.76]]
    assert noise.shape == (1, 2)
    assert ((noise > 0) & (noise < 0.01)).all()


def test_miniboone_keeps_its_order_and_is_standardized_without_the_test_rows(tmp_path: Path) -> None:
    rows = np.random.default_rng(0).normal(3, 2, size=(200, 4))
    (tmp_path / "miniboone").mkdir()
    np.save(tmp_path / "miniboone" / "data.npy", rows)
    data = load_table("miniboone", tmp_path)
    assert (len(data.training), len(data.validation), len(data.test)) == (162, 18, 20)
    expected = (rows - rows[:180].mean(axis=0)) / rows[:180].std(axis=0)
    np.testing.assert_allclose(np.concatenate((data.training, data.validation, data.test)), expected)


def test_power_drops_two_columns_and_leaves_no_whole_numbers_in_the_meters(tmp_path: Path) -> None:
    rows = np.random.default_rng(0).integers(0, 50, size=(300, 8)).astype(float)
    (tmp_path / "power").mkdir()
    np.save(tmp_path / "power" / "data.npy", rows)
    data = load_table("power", tmp_path)
    assert data.training.shape == (243, 6)
    assert [len(np.unique(column)) > 50 for column in data.training.T] == [True] * 5 + [False]


def test_gas_drops_labels_and_all_but_the_last_of_columns_that_correlate(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    base = generator.normal(5, 2, size=(400, 3))
    copies = {"R1": base[:, 0], "R2": base[:, 0] + 0.01 * base[:, 1], "R3": base[:, 1], "R4": -base[:, 1]}
    labels = {"Time": np.arange(400.0), "Meth": np.zeros(400), "Eth": np.ones(400)}
    (tmp_path / "gas").mkdir()
    pd.DataFrame({**labels, **copies, "R5": base[:, 2]}).to_pickle(tmp_path / "gas" / "ethylene_CO.pickle")
    data = load_table("gas", tmp_path)
    rows = np.concatenate((data.training, data.validation, data.test))
    kept = np.stack([copies["R2"], copies["R3"], copies["R4"], base[:, 2]], axis=1)  # a negative correlation counts not
    np.testing.assert_allclose(rows, (kept - kept.mean(0)) / kept.std(0, ddof=1))
    assert (len(data.training), len(data.validation), len(data.test)) == (324, 36, 40)


def test_hepmass_keeps_the_signal_and_drops_columns_of_repeated_values(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    folder = tmp_path / "hepmass"
    folder.mkdir()
    frames = {}
    for part, count, extra in (("train", 300, 0), ("test", 90, 1)):
        labels = np.arange(count) % 3 == 0
        rows = generator.normal(4, 3, size=(count, 3))
        rows[:, 1] = np.maximum(rows[:, 1], 4)
        frames[part] = rows[labels][:, [0, 2]]
        table = np.column_stack([labels.astype(float), rows, np.full((count, extra), 7.0)])
        names = ["# label", "f0", "f1", "f2", *["f3"] * extra]
        pd.DataFrame(table, columns=names).to_csv(folder / f"1000_{part}.csv", index=False)
    data = load_table("hepmass", tmp_path)
    assert (len(data.training), len(data.validation), len(data.test)) == (90, 10, 30)
    mean, deviation = frames["train"].mean(0), frames["train"].std(0, ddof=1)
    np.testing.assert_allclose(np.concatenate((data.training, data.validation)), (frames["train"] - mean) / deviation)
    np.testing.assert_allclose(data.test, (frames["test"] - mean) / deviation)


def test_the_hash_changes_with_any_split(tmp_path: Path) -> None:
    rows = np.random.default_rng(0).normal(size=(200, 4))
    (tmp_path / "miniboone").mkdir()
    hashes = set()
    for change in (0.0, 1.0):
        rows[-1, -1] += change
        np.save(tmp_path / "miniboone" / "data.npy", rows)
        hashes.add(load_table("miniboone", tmp_path).sha256)
    assert len(hashes) == 2


def test_a_missing_or_damaged_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="make tables"):
        load_table("casp", tmp_path)
    (tmp_path / tabular_data.WHEEL).write_bytes(b"other")
    with pytest.raises(InputError, match="damaged or another version"):
        load_table("casp", tmp_path)
    for name, file in (("power", "data.npy"), ("gas", "ethylene_CO.pickle"), ("hepmass", "1000_train.csv")):
        expected = f"{tmp_path / name / file} does not exist: unpack the sets of https://\\S+ into {tmp_path}"
        with pytest.raises(DataError, match=expected):
            load_table(name, tmp_path)
    with pytest.raises(InputError, match="did you mean casp"):
        load_table("cas", tmp_path)


@pytest.mark.parametrize(
    ("row", "column", "value", "message"),
    [
        (5, 2, np.nan, "column 2 of the training split has missing"),
        (170, 1, np.inf, "column 1 of the validation split has missing"),
        (199, 3, -np.inf, "column 3 of the test split has missing"),
        (slice(162), 1, 4.0, "column 1 of the training split has a single value"),
    ],
)
@pytest.mark.filterwarnings("error")
def test_unusable_columns_are_named_with_file_and_split(
    tmp_path: Path, row: int | slice, column: int, value: float, message: str
) -> None:
    rows = np.random.default_rng(0).normal(size=(200, 4))
    rows[row, column] = value
    for name in ("miniboone", "gas"):
        (tmp_path / name).mkdir()
    np.save(tmp_path / "miniboone" / "data.npy", rows)
    labels = {label: np.zeros(200) for label in ("Time", "Meth", "Eth")}
    columns = {f"R{i}": values for i, values in enumerate(rows.T)}
    pd.DataFrame({**labels, **columns}).to_pickle(tmp_path / "gas" / "ethylene_CO.pickle")
    for name, file in (("miniboone", r"data\.npy"), ("gas", r"ethylene_CO\.pickle")):
        with pytest.raises(DataError, match=f"{name}/{file}: {message}"):
            load_table(name, tmp_path)


def test_a_missing_value_of_hepmass_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "hepmass"
    folder.mkdir()
    for part, value in (("train", 1.0), ("test", np.nan)):
        rows = np.random.default_rng(0).normal(size=(50, 3))
        rows[:, 0], rows[-1, 2] = 1, value
        pd.DataFrame(rows, columns=["# label", "f0", "f1"]).to_csv(folder / f"1000_{part}.csv", index=False)
    with pytest.raises(DataError, match="hepmass: column 1 of the test split"):
        load_table("hepmass", tmp_path)


class Unknown:
    """An object that is no table."""


def test_files_of_other_contents_are_refused_in_one_paragraph(tmp_path: Path) -> None:
    paths = {name: tmp_path / name / "data.npy" for name in ("power", "miniboone")}
    paths["gas"] = tmp_path / "gas" / "ethylene_CO.pickle"
    for path in paths.values():
        path.parent.mkdir()
    paths["miniboone"].write_bytes(b"")
    np.save(paths["power"], np.zeros((20, 2)))
    paths["gas"].write_bytes(pickle.dumps(Unknown()))
    messages = {"miniboone": "No data left", "power": r"shape \(20, 2\).*8 columns", "gas": "Unknown"}
    for name, message in messages.items():
        with pytest.raises(DataError, match=f"'{name}' cannot be read from {paths[name]}: .*{message}"):
            load_table(name, tmp_path)
    paths["gas"].write_bytes(pickle.dumps(Unknown()).replace(b"Unknown", b"Missing"))
    with pytest.raises(DataError, match=r"ethylene_CO\.pickle: .*Missing"):
        load_table("gas", tmp_path)


def test_the_package_loads_neither_hdf5_nor_the_environments() -> None:
    code = (
        "import sys, trajectory_adacat.density, trajectory_adacat.density.tabular_data; "
        "heavy = {'h5py', 'gymnasium', 'mujoco'} & set(sys.modules); assert not heavy, heavy"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
