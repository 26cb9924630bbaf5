"""Flags and their values: precedence, types, suggestions, exit codes."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import pytest
from tap import Positional, TapIgnore

from trajectory_adacat.command_line import CommandParser, OfflineParser, dataset_folder, run_command
from trajectory_adacat.configuration import Configuration
from trajectory_adacat.datasets.sequences import resolve_penalty
from trajectory_adacat.errors import InputError
from trajectory_adacat.planning.planner import PlannerConfig
from trajectory_adacat.robots import named_datasets
from trajectory_adacat.scripts.plan_arguments import PlanArguments
from trajectory_adacat.scripts.train import TrainArguments
from trajectory_adacat.settings import build, settings_of, to_flat
from trajectory_adacat.training.config import RunConfig, TrainConfig


class Flags(CommandParser):
    """Every kind of flag."""

    number: int = 3  # a whole number
    rate: float = 0.5  # 50% of something
    on: bool = True  # on at first
    off: bool = False  # off at first
    maybe: int | None = 7  # a number or none
    limit: float | Literal["auto"] | None = "auto"  # a number, auto or none
    name: str | None = None  # a name or none
    kind: Literal["uniform", "normal"] = "uniform"  # one of two
    place: Path = Path("here")  # a path


class Positionals(CommandParser):
    """A list without a flag."""

    paths: Positional[list[Path]] = [Path("logs")]  # where to look
    verbose: bool = False  # whether to talk


class Train(OfflineParser):
    """Flags that the configuration files of these tests set."""

    section: TapIgnore[str] = "train"
    parameterizations: TapIgnore[tuple[str, ...]] = ("adacat", "uniform", "quantile")

    exp_name: str = "gpt/{parameterization}_{seed}"  # name
    parameterization: Literal["adacat", "uniform", "quantile"] = "adacat"  # form of the outputs
    seed: int = 0  # random seed
    horizon: int = 1  # steps
    rate: float = 0.1  # rate
    drop: float | None = None  # fraction


CONFIG = """
PRESETS = {
    "big": {
        "train": {"horizon": 3},
        "train:uniform": {"drop": 0.25},
        "datasets": {
            "hopper-medium": {"train": {"horizon": 4}, "train:adacat": {"drop": 0.75}},
            "hopper-medium-v2": {"train": {"horizon": 5}},
        },
    },
    "small": {"train": {"horizon": 0, "drop": 0.5}, "plan": {"anything": 1}},
}
DEFAULT_PRESETS = {"*-v2": "big", "*-collected": "big", "*": "small"}
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "mine.py"
    path.write_text(CONFIG)
    return path


def train(config: Path, *argv: str, dataset: str = "hopper-medium-v2", parameterization: str | None = None) -> Train:
    arguments = Train().parse(["--config", str(config), "--dataset", dataset, *argv])
    if parameterization is not None:
        arguments.use_parameterization(parameterization)
    return arguments


# flags


def test_defaults_and_values() -> None:
    assert Flags().parse([]).arguments() == {
        "number": 3,
        "rate": 0.5,
        "on": True,
        "off": False,
        "maybe": 7,
        "limit": "auto",
        "name": None,
        "kind": "uniform",
        "place": Path("here"),
    }
    parsed = Flags().parse(["--number=-4", "--rate", "-1e-3", "--name", "x", "--kind", "normal", "--place", "/a"])
    assert (parsed.number, parsed.rate, parsed.name, parsed.kind, parsed.place) == (
        -4,
        -1e-3,
        "x",
        "normal",
        Path("/a"),
    )


@pytest.mark.parametrize("flag", ["on", "off"])
@pytest.mark.parametrize(
    ("value", "meant"),
    [([], True), (["true"], True), (["false"], False), (["False"], False), (["1"], True), (["0"], False)],
)
def test_a_boolean_is_what_it_says_whatever_its_default(flag: str, value: list[str], meant: bool) -> None:
    assert getattr(Flags().parse([f"--{flag}", *value]), flag) is meant


def test_none_is_a_value_where_it_may_be() -> None:
    assert Flags().parse(["--maybe", "none"]).maybe is None
    with pytest.raises(InputError, match="--number"):
        Flags().parse(["--number", "none"])


@pytest.mark.parametrize(("text", "value"), [("none", None), ("auto", "auto"), ("-3", -3.0)])
def test_none_and_a_word_may_both_stand_for_a_number(text: str, value: object) -> None:
    assert Flags().parse(["--limit", text]).limit == value


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--numbr", "4"], "no flag --numbr: did you mean --number?"),
        (["--num", "4"], "no flag --num: did you mean --number?"),  # no abbreviations
        (["--numbr=4"], "no flag --numbr: did you mean --number?"),
        (["-number", "4"], "no flag -number: did you mean --number?"),
        (["--number", "3.5"], "--number: invalid int value: '3.5'"),
        (["--number"], "--number: expected one argument"),
        (["--rate", "fast"], "--rate: invalid float value: 'fast'"),
        (["--maybe", "x"], "--maybe: invalid int value: 'x'"),
        (["--on", "perhaps"], "--on: 'perhaps' is not a boolean"),
        (["--kind", "unifrom"], "--kind: there is no 'unifrom': did you mean uniform?"),
        (["stray"], "unrecognized arguments: stray"),
    ],
)
def test_a_bad_flag_is_named_with_what_to_do(argv: list[str], message: str) -> None:
    with pytest.raises(InputError) as raised:
        Flags().parse(argv)
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_mistyped_required_flag_is_named_before_the_missing_one() -> None:
    with pytest.raises(InputError, match="no flag --datset: did you mean --dataset"):
        Train().parse(["--datset", "hopper-medium-v2"])
    with pytest.raises(InputError, match="required: --dataset"):
        Train().parse([])


def test_positional_lists() -> None:
    assert Positionals().parse([]).paths == [Path("logs")]
    assert Positionals().parse(["a", "b", "--verbose"]).paths == [Path("a"), Path("b")]


def test_help_texts_are_the_comments(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as raised:
        Flags().parse(["--help"])
    assert raised.value.code == 0
    printed = " ".join(capsys.readouterr().out.split())
    for help_text in (
        "a whole number (int, default 3)",
        "50% of something",
        "a number or none (int | None, default 7)",
    ):
        assert help_text in printed


def test_a_flag_without_help_text_is_refused() -> None:
    class Silent(CommandParser):
        mute: int = 0

    with pytest.raises(TypeError, match=r"Silent\.mute"):
        Silent()


def test_arguments_are_saved_as_json(tmp_path: Path) -> None:
    Flags().parse(["--number", "9"]).save_arguments(tmp_path / "args.json")
    saved = json.loads((tmp_path / "args.json").read_text())
    assert saved["number"] == 9
    assert saved["place"] == "here"


# run_command


@pytest.mark.parametrize(("error", "code"), [(InputError("no such file\nanywhere"), 2), (KeyboardInterrupt(), 130)])
def test_exit_codes(error: BaseException, code: int, capsys: pytest.CaptureFixture[str]) -> None:
    def main(argv: Sequence[str] | None) -> None:
        raise error

    with pytest.raises(SystemExit) as raised:
        run_command(main, [])
    assert raised.value.code == code
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    if code == 2:
        assert "no such file anywhere" in captured.err


def test_other_errors_are_not_hidden() -> None:
    def main(argv: Sequence[str] | None) -> None:
        raise ValueError("a mistake of ours")

    with pytest.raises(ValueError, match="a mistake of ours"):
        run_command(main, [])


# configuration files


def test_later_sources_override_earlier_ones(config: Path) -> None:
    assert train(config, dataset="mine").rate == 0.1  # the default
    assert train(config, dataset="mine").horizon == 0  # the preset
    assert train(config, dataset="walker2d-medium-v2").horizon == 3
    assert train(config, dataset="hopper-medium-collected").horizon == 4  # the dataset without its ending
    assert train(config).horizon == 5  # its full name
    assert train(config, "--horizon", "6").horizon == 6  # the command line
    assert train(config, "--preset", "small").horizon == 0


def test_a_dataset_is_not_taken_for_one_whose_name_begins_alike(config: Path) -> None:
    assert train(config, dataset="hopper-medium-replay-v2").horizon == 3
    assert train(config, dataset="hopper-medium-expert-collected").horizon == 3


def test_sections_of_one_parameterization(config: Path) -> None:
    assert train(config).drop == 0.75
    assert train(config, "--parameterization", "uniform").drop == 0.25
    assert train(config, "--parameterization", "quantile").drop is None
    assert train(config, parameterization="uniform").drop == 0.25
    assert train(config, "--drop", "none").drop is None


def test_the_preset_is_resolved(config: Path) -> None:
    assert train(config).preset == "big"
    assert train(config, dataset="mine.hdf5").preset == "small"
    with pytest.raises(InputError, match=r"no --preset bgi .*mine\.py: did you mean big"):
        train(config, "--preset", "bgi")


def test_names_refer_to_other_flags(config: Path) -> None:
    parsed = train(config, "--parameterization", "uniform", "--seed", "4", "--suffix", "b", "--logbase", "out")
    assert parsed.exp_name == "gpt/uniform_4"
    assert parsed.savepath == Path("out/hopper-medium-v2/gpt/uniform_4/b")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("{sede}", "names no flag: did you mean seed"),
        ("{exp_name}", "names no flag"),
        *(
            (name, "is no name with {flag} in it")
            for name in ("{", "}", "{}", "{0}", "{seed.x}", "{seed[0]}", "{seed:z}")
        ),
    ],
)
def test_an_experiment_name_that_cannot_be_filled_in_is_refused(config: Path, name: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        train(config, "--exp_name", name)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            '"drop": 0.5',
            '"dorp": 0.5',
            r"\['small'\]\['train'\] in .* has an unknown key 'dorp': did you mean drop",
        ),
        ('"horizon": 0', '"horizon": 0.5', r"PRESETS\['small'\]\['train'\] .* 'horizon': 0\.5, .* int"),
        ('"horizon": 5', '"horizon": "5"', r"\['datasets'\]\['hopper-medium-v2'\]\['train'\] .* 'horizon': '5'"),
        ('"train:uniform"', '"train:unifrom"', "unknown section 'train:unifrom': did you mean train:uniform"),
        ('"plan"', '"paln"', "unknown section 'paln': did you mean plan"),
        ("DEFAULT_PRESETS", "PRESET", "has no DEFAULT_PRESETS of type dict"),
        ('"*": "small"', '"*": None', "has no DEFAULT_PRESETS of type dict"),
        ('"small": {', "1: {", "has no PRESETS of type dict"),
        ('{"horizon": 3}', "None", r"PRESETS\['big'\] in .* must be a dictionary of sections"),
        ('"horizon": 3', "3: 3", r"PRESETS\['big'\] in .* must be a dictionary of sections"),
        (
            '{"train": {"horizon": 5}}',
            "7",
            r"\['datasets'\]\['hopper-medium-v2'\] in .* must be a dictionary of sections",
        ),
        ('"horizon": 3', '"preset": "small"', "unknown key 'preset'"),
        ('"*": "small"', '"x": "small"', "no preset for 'mine'"),
        ("PRESETS = {", "PRESETS = {{", "could not be read: SyntaxError"),
        ("PRESETS = {", "BASE = {}\nPRESETS = {", "has a BASE, which is not read"),
    ],
)
def test_a_bad_configuration_is_named_with_its_key(config: Path, old: str, new: str, message: str) -> None:
    assert old in CONFIG
    config.write_text(CONFIG.replace(old, new, 1))
    with pytest.raises(InputError, match=message):
        train(config, dataset="mine")


@pytest.mark.parametrize("name", ["nowhere.py", "no.such.module", "config.ofline"])
def test_a_missing_configuration_is_named(name: str) -> None:
    with pytest.raises(InputError, match=rf"--config {name} was not found"):
        Train().parse(["--dataset", "x", "--config", name])


@pytest.mark.parametrize(
    ("name", "folder"),
    [
        ("hopper-medium-v2", "hopper-medium-v2"),
        ("minari:mujoco/hopper/medium-v0", "minari-mujoco-hopper-medium-v0"),
        ("/data/my run.hdf5", "my-run"),
        ("../../etc", "..-..-etc"),
    ],
)
def test_a_dataset_is_one_folder(name: str, folder: str) -> None:
    assert dataset_folder(name) == folder


# the package's own configuration


@pytest.mark.parametrize(
    ("name", "preset"),
    [
        ("hopper-medium-v2", "table4"),
        ("hopper-medium-collected", "cpu"),
        ("minari:a/b/c-v2", "cpu"),
        ("my.hdf5", "cpu"),
    ],
)
def test_official_datasets_have_the_papers_preset(name: str, preset: str) -> None:
    assert Configuration("config.offline").preset_for(name) == preset


GOLDEN = json.loads((Path(__file__).parent / "fixtures" / "presets.json").read_text())
KINDS: dict[str, tuple[type, ...]] = {"train": (TrainConfig, RunConfig), "plan": (PlannerConfig,)}
# What a golden set holds although it has no effect: settings of another parameterization or optimizer, and such.
IDLE = {
    *("n_bins", "N", "embedding", "standardize", "smooth_coeff", "smooth_type"),
    *("muon_learning_rate", "n_epochs_ref", "lr_schedule_end"),
}


FEW_CANDIDATES = {"beam_width": 2, "cdf_act": 0.0}
SINCE: dict[tuple[str, str], dict[str, Any]] = {
    ("cpu", "train"): {"n_steps": 5000},
    ("demo", "train"): {"n_steps": 1800},
    ("cpu", "plan"): FEW_CANDIDATES,
    ("demo", "plan"): FEW_CANDIDATES,
}
COMMANDS: dict[str, type[OfflineParser]] = {"train": TrainArguments, "plan": PlanArguments}


def resolved(section: str, preset: str, dataset: str, parameterization: str) -> dict[str, Any]:
    """The settings that have an effect, by the names of their flags, and the command's own flags."""
    configuration = Configuration("config.offline")
    preset = configuration.preset_for(dataset) if preset == "None" else preset
    chosen = configuration.values(section, preset, dataset, parameterization)
    settings = {name for kind in KINDS[section] for name in settings_of(kind)}
    classes = COMMANDS[section].__mro__[: COMMANDS[section].__mro__.index(OfflineParser)]
    own = {name: getattr(COMMANDS[section], name, None) for kind in classes for name in kind.__annotations__}
    found = {name: chosen.get(name, default) for name, default in own.items() if name not in settings}
    chosen["termination_penalty"] = resolve_penalty(chosen.get("termination_penalty", "auto"), dataset)
    others = {"parameterization": parameterization, "discount": 0.99}
    for kind in KINDS[section]:
        found |= to_flat(build(kind, {**chosen, **others}))
    return {**found, "preset": preset}


@pytest.mark.parametrize("section", ["train", "plan"])
@pytest.mark.parametrize("preset", ["None", "table4", "table4-released", "cpu", "demo"])
def test_every_preset_has_the_values_that_results_were_made_with(section: str, preset: str) -> None:
    """`fixtures/presets.json` was written before the settings moved into dataclasses; `SINCE` is what changed since."""
    cases = [case for case in GOLDEN["cases"] if case.startswith(f"{preset}|") and case.endswith(section)]
    assert len(cases) == 96
    for case in cases:
        _, dataset, parameterization, _ = case.split("|")
        found = resolved(section, preset, dataset, parameterization)
        expected = {**GOLDEN["values"][GOLDEN["cases"][case]], **({"discount": 0.99} if section == "plan" else {})}
        if section == "train" and dataset not in named_datasets():
            expected["termination_penalty"] = None  # it was -100 for every dataset
        if section == "plan":
            expected["max_episode_length"] = None  # the environment's own limit; it was 1000 for every environment
        expected |= SINCE.get((found["preset"], section), {})
        for name in ("exp_name", "gpt_loadpath"):  # the golden set has the first filled in
            expected.pop(name, None)
        assert {name: found[name] for name in expected if name in found} == {
            name: value for name, value in expected.items() if name in found
        }, case
        assert expected.keys() - found.keys() <= IDLE, case


FEW = {"horizon": 1, "beam_width": 2, "n_expand": 2, "cdf_act": 0.0, "drop_act": 0.0}


@pytest.mark.parametrize("preset", ["table4", "table4-annealed", "table4-released", "table4-critic", "cpu", "demo"])
@pytest.mark.parametrize("dataset", ["halfcheetah-medium-v2", "hopper-medium-collected"])
@pytest.mark.parametrize("parameterization", ["adacat", "uniform"])
def test_with_a_critic_every_preset_plans_with_few_candidates(preset: str, dataset: str, parameterization: str) -> None:
    def planned(*argv: str) -> dict[str, Any]:
        arguments = PlanArguments().parse(["--dataset", dataset, "--preset", preset, *argv])
        arguments.use_parameterization(parameterization)
        return arguments.arguments()

    guided = planned("--critic", "auto")
    assert {name: guided[name] for name in FEW} == FEW
    assert guided == {**planned("--scoring", "critic"), "critic": "auto"}
    assert planned("--critic", "auto", "--horizon", "3")["horizon"] == 3
    assert guided["exp_name"].endswith("H1_beam2")
    by_values = planned("--scoring", "values")
    assert by_values["horizon"] > 1
    others = ("use_ema", "sampling", "window", "max_context_transitions")
    assert all(guided[name] == by_values[name] for name in others)
    by_default = planned()
    assert (by_default["scoring"] == "critic") == (preset == "table4-critic")
    assert by_default == (guided if preset == "table4-critic" else by_values)


def test_the_critics_preset_has_the_papers_models() -> None:
    for name in GOLDEN["cases"]:
        preset, dataset, parameterization, section = name.split("|")
        if (preset, section) == ("table4", "train"):
            models = [resolved("train", kind, dataset, parameterization) for kind in ("table4", "table4-critic")]
            assert models[1] == {**models[0], "preset": "table4-critic"}


@pytest.mark.parametrize("parameterization", ["adacat", "uniform", "quantile", "logistic_mixture"])
def test_only_the_released_preset_has_the_released_head(parameterization: str) -> None:
    presets = Configuration("config.offline").presets
    found = {name: resolved("train", name, "hopper-medium-v2", parameterization)["head_init"] for name in presets}
    assert found == {**dict.fromkeys(presets, "normal"), "table4-released": "uniform"}


def test_the_papers_presets_start_offsets_at_zero_and_the_small_ones_do_not() -> None:
    presets = Configuration("config.offline").presets
    found = {name: resolved("train", name, "hopper-medium-v2", "adacat")["offset_init"] for name in presets}
    assert found == {**dict.fromkeys(presets, "zero"), "cpu": "normal", "demo": "normal"}


def test_new_parsers_share_nothing_but_their_flags() -> None:
    first = TrainArguments.new().parse(["--dataset", "hopper-medium-collected", "--n_layer", "7", "--seed", "3"])
    second = TrainArguments.new().parse(["--dataset", "hopper-medium-collected"])
    assert (first.arguments()["n_layer"], first.arguments()["seed"]) == (7, 3)
    fresh = TrainArguments().parse(["--dataset", "hopper-medium-collected"])
    assert second.arguments() == fresh.arguments()
    assert second.given == {"dataset": "hopper-medium-collected"}
