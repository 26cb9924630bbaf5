"""The readers of real tables, on small files of the same formats."""

import io
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

from trajectory_adacat.density import tabular_data
from trajectory_adacat.density.tabular_data import load_table, read_casp, read_ccpp, read_grid
from trajectory_adacat.errors import InputError


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


def test_a_missing_or_damaged_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="make tables"):
        load_table("casp", tmp_path)
    (tmp_path / tabular_data.WHEEL).write_bytes(b"other")
    with pytest.raises(InputError, match="damaged or another version"):
        load_table("casp", tmp_path)
    with pytest.raises(InputError, match=r"data\.npy"):
        load_table("power", tmp_path)
    with pytest.raises(InputError, match="did you mean casp"):
        load_table("cas", tmp_path)


def test_the_package_loads_neither_hdf5_nor_the_environments() -> None:
    code = (
        "import sys, trajectory_adacat.density, trajectory_adacat.density.tabular_data; "
        "heavy = {'h5py', 'gymnasium', 'mujoco'} & set(sys.modules); assert not heavy, heavy"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
