"""The settings of a sweep: files, presets, flags, and the combinations they describe."""

from pathlib import Path

import pytest

from trajectory_adacat.errors import InputError
from trajectory_adacat.sweep.grid import SweepConfig, label, parse_assignments, read_config, texts

FILE = """
[sweep]
datasets = ["a", "b"]
rollouts = 4

[train]
n_layer = [1, 2]
standardize = true

["train:adacat"]
n_bins = [4, 8]
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "my sweep.toml"
    path.write_text(FILE)
    return path


def test_a_file_describes_every_combination(file: Path) -> None:
    config = read_config(file, None, {"parameterizations": ["adacat", "uniform"]})
    assert (config.name, config.datasets, config.rollouts) == ("my-sweep", ["a", "b"], 4)
    uniform = [texts(found) for found in config.combinations("train", "uniform")]
    assert uniform == [{"n_layer": "1", "standardize": "true"}, {"n_layer": "2", "standardize": "true"}]
    adacat = [(texts(found)["n_layer"], texts(found)["n_bins"]) for found in config.combinations("train", "adacat")]
    assert adacat == [("1", "4"), ("1", "8"), ("2", "4"), ("2", "8")]
    assert config.combinations("plan", "adacat") == [{}]


def test_names_tell_the_values_that_were_written_as_a_list(file: Path) -> None:
    grids = {"train": parse_assignments("train", ["standardize=false", "n_layer=3"])}
    (found, *_) = read_config(file, None, {"grids": grids}).combinations("train", "uniform")
    assert texts(found) == {"n_layer": "3", "standardize": "false"}
    assert label("uniform", found) == "uniform_n_layer-3"


VARIANTS = """
[sweep]
datasets = ["a"]

[plan]
horizon = 3
beam_width = 2

[variants.no_search.plan]
horizon = 1

["variants"."unsmoothed"."train:adacat"]
smooth_coeff = 0
"""


def test_a_variant_overrides_flags_and_runs_where_it_changes_something(tmp_path: Path) -> None:
    path = tmp_path / "variants.toml"
    path.write_text(VARIANTS)
    config = read_config(path, None, {"parameterizations": ["adacat", "uniform"]})
    assert config.variants_of("adacat") == [None, "no_search", "unsmoothed"]
    assert config.variants_of("uniform") == [None, "no_search"]
    plans = [texts(config.combinations("plan", "adacat", name)[0])["horizon"] for name in config.variants_of("adacat")]
    assert plans == ["3", "1", "3"]
    assert config.combinations("train", "uniform", "no_search") == [{}]
    assert [texts(found) for found in config.combinations("train", "adacat", "unsmoothed")] == [{"smooth_coeff": "0"}]
    assert config.changes("unsmoothed", "train", "adacat")
    assert not config.changes("unsmoothed", "plan", "adacat")
    with pytest.raises(InputError, match="no flag 'smooth_coeff'"):
        config.check_flags({"train": ["n_layer"], "plan": ["horizon", "beam_width"], "critic": []})


def test_the_ablations_change_one_thing_at_a_time() -> None:
    config = read_config(None, "ablations", {})
    sections = {name: [*grids] for name, grids in config.variants.items()}
    assert all(len(names) == 1 for names in sections.values())
    assert {name for name, names in sections.items() if names == ["train"]} == {
        *("constant_smoothing", "no_smoothing", "shared_embedding", "one_hot_embedding")
    }
    assert texts(config.combinations("plan", "adacat")[0]) == {"scoring": "critic"}


def test_a_long_name_is_cut_and_stays_unique() -> None:
    names = {label("x" * 200, grid) for text in ("a,b", "a,c") for grid in _combinations(text)}
    assert len(names) == 3
    assert max(map(len, names)) < 120


def _combinations(text: str) -> list[dict[str, object]]:
    config = SweepConfig(datasets=["a"], grids={"plan": parse_assignments("plan", [f"critic={text}"])})
    return config.combinations("plan")  # type: ignore[return-value]


@pytest.mark.parametrize(
    ("preset", "seeds", "rollouts"),
    [("table4-collected", 3, 10), ("table4", 5, 3), ("table4-annealed", 5, 3), ("table4-critic", 5, 3)],
)
def test_the_presets_are_the_papers_grid(preset: str, seeds: int, rollouts: int) -> None:
    config = read_config(None, preset, {})
    assert (config.name, len(config.seeds), config.rollouts) == (preset, seeds, rollouts)
    assert config.parameterizations == ["adacat", "uniform", "quantile"]
    ending = "medium-collected" if preset == "table4-collected" else "medium-v2"
    assert {*config.datasets} == {f"{robot}-{ending}" for robot in ("hopper", "halfcheetah", "walker2d")}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[sweep]\ndataset = ['a']", "unknown key 'dataset': did you mean datasets"),
        ("[sweep]\ndatasets = 'a'", "datasets = 'a', which is not of type"),
        ("[sweep]\nrollouts = 2", "no datasets"),
        ("[sweep]\ndatasets = ['a', 'a']", "name a value twice"),
        ("[sweep]\ndatasets = ['a']\nrollouts = 0", "at least 1"),
        ("[sweep]\ndatasets = ['a']\nname = 'a/b'", "name of a folder"),
        ("[sweep]\ndatasets = ['a']\n[training]\nseed = 1", "unknown section 'training'"),
        ("[sweep]\ndatasets = ['a']\n[train]\nn_layer = []", "'n_layer' no value"),
        ("[sweep]\ndatasets = ['a']\n[variants.x.training]\nseed = 1", "unknown section 'training'"),
        ("[sweep]\ndatasets = ['a']\n[variants.plan.plan]\nhorizon = 1", "No variant may be named 'plan'"),
        ("[sweep]\ndatasets = ['a']\n[variants.'x/y'.plan]\nhorizon = 1", "variant must be the name of a folder"),
        ("variants = 3\n[sweep]\ndatasets = ['a']", "must be tables"),
        ("[sweep", "cannot be read"),
    ],
)
def test_a_wrong_file_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "wrong.toml"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        read_config(path, None, {})


def test_wrong_flags_are_refused(file: Path) -> None:
    with pytest.raises(InputError, match="no sweep --preset table5"):
        read_config(None, "table5", {})
    with pytest.raises(InputError, match="give one of them"):
        read_config(file, "table4", {})
    with pytest.raises(InputError, match="name=value"):
        parse_assignments("train", ["n_layer"])
    flags = {"train": ["n_layer", "seed"], "plan": ["horizon"], "critic": []}
    for text, message in {"seed=1": "use the sweep's setting 'seeds'", "n_layers=1": "no flag 'n_layers'"}.items():
        config = SweepConfig(datasets=["a"], grids={"train": parse_assignments("train", [text])})
        with pytest.raises(InputError, match=message):
            config.check_flags(flags)


def test_density_models_have_defaults_and_sections_of_their_own(tmp_path: Path) -> None:
    path = tmp_path / "density.toml"
    path.write_text('[sweep]\nexperiment = "images"\ndatasets = ["mnist"]\n["train:uniform"]\nN = [4, 8]\n')
    config = read_config(path, None, {"parameterizations": ["adacat", "uniform"], "seeds": [3]})
    assert (config.experiment, config.config, config.logbase) == ("images", "config.density", "logs/density")
    assert len(config.combinations("train", "uniform")) == 2
    assert read_config(path, None, {"parameterizations": ["uniform"], "logbase": "x"}).logbase == "x"
    preset = read_config(None, "density-images", {"parameterizations": ["uniform"]})
    assert preset.variants_of("uniform") == [None]
    assert {*preset.grids} == {"train", "train:uniform"}
    planning = read_config(None, None, {"datasets": ["a"]})
    assert (planning.experiment, planning.config, planning.logbase) == ("planning", "config.offline", "logs")
    for more, message in {
        "[plan]\nhorizon = 3": "'plan' has no effect",
        "[variants.x.critic]\nhidden = 3": "'critic' has no effect",
        "['train:quantile']\nN = 3": "unknown section 'train:quantile'",
    }.items():
        path.write_text(f'[sweep]\nexperiment = "images"\ndatasets = ["mnist"]\n{more}\n')
        with pytest.raises(InputError, match=message):
            read_config(path, None, {})
    path.write_text('[sweep]\nexperiment = "sounds"\ndatasets = ["mnist"]\n')
    with pytest.raises(InputError, match="experiment = 'sounds'"):
        read_config(path, None, {})
