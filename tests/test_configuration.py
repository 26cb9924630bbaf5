"""Flags and their values: precedence, types, suggestions, exit codes."""

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import pytest
from tap import Positional, TapIgnore

from trajectory_adacat.configuration import (
    CommandParser,
    Configuration,
    OfflineParser,
    dataset_folder,
    pick,
    run_command,
)
from trajectory_adacat.errors import InputError


class Flags(CommandParser):
    """Every kind of flag."""

    number: int = 3  # a whole number
    rate: float = 0.5  # 50% of something
    on: bool = True  # on at first
    off: bool = False  # off at first
    maybe: int | None = 7  # a number or none
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

    exp_name: str = "gpt/{parameterization}_{seed}"  # name
    parameterization: Literal["adacat", "uniform", "quantile"] = "adacat"  # form of the outputs
    horizon: int = 1  # steps
    rate: float = 0.5  # rate
    drop: float | None = None  # fraction


CONFIG = """
BASE = {"train": {"horizon": 2, "rate": 0.1}, "plan": {"anything": 1}}
PRESETS = {
    "big": {
        "train": {"horizon": 3},
        "train:uniform": {"drop": 0.25},
        "datasets": {
            "hopper-medium": {"train": {"horizon": 4}, "train:adacat": {"drop": 0.75}},
            "hopper-medium-v2": {"train": {"horizon": 5}},
        },
    },
    "small": {"train": {"horizon": 0, "drop": 0.5}},
}
DEFAULT_PRESETS = {"*-v2": "big", "*-collected": "big", "*": "small"}
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "mine.py"
    path.write_text(CONFIG)
    return path


def train(config: Path, *argv: str, dataset: str = "hopper-medium-v2", parameterization: str | None = None) -> Train:
    return Train().parse(["--config", str(config), "--dataset", dataset, *argv], parameterization)


# flags


def test_defaults_and_values() -> None:
    assert Flags().parse([]).arguments() == {
        "number": 3,
        "rate": 0.5,
        "on": True,
        "off": False,
        "maybe": 7,
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


def test_later_layers_go_before_earlier_ones(config: Path) -> None:
    assert train(config, dataset="mine").horizon == 0  # the preset over BASE
    assert train(config, dataset="mine").rate == 0.1  # BASE over the default
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
    with pytest.raises(InputError, match="--exp_name"):
        train(config, "--exp_name", "{nothing}")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"rate": 0.1', '"raet": 0.1', r"BASE\['train'\] in .*mine\.py has an unknown key 'raet': did you mean rate"),
        ('"horizon": 0', '"horizon": 0.5', r"PRESETS\['small'\]\['train'\] .* 'horizon': 0\.5, .* int"),
        ('"horizon": 5', '"horizon": "5"', r"\['datasets'\]\['hopper-medium-v2'\]\['train'\] .* 'horizon': '5'"),
        ('"train:uniform"', '"train:unifrom"', "unknown section 'train:unifrom': did you mean train:uniform"),
        ('"plan"', '"paln"', "unknown section 'paln': did you mean plan"),
        ("DEFAULT_PRESETS", "PRESET", "has no dictionary DEFAULT_PRESETS"),
        ('"*": "small"', '"x": "small"', "no preset for 'mine'"),
        ("BASE = {", "BASE = {{", "could not be read: SyntaxError"),
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


def offline(section: str, preset: str, dataset: str, parameterization: str) -> dict[str, Any]:
    return Configuration("config.offline").values(section, preset, dataset, parameterization)


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


def test_the_papers_training_settings() -> None:
    paper = offline("train", "table4", "hopper-medium-v2", "adacat")
    model = {"n_layer": 4, "n_head": 4, "n_embd": 32, "n_bins": 50, "N": 100, "subsampled_sequence_length": 10}
    optimizer = {"batch_size": 256, "learning_rate": 6e-4, "weight_decay": 0.1, "beta1": 0.9, "beta2": 0.95}
    schedule = {"warmup_epochs": 1, "final_epochs": 20, "lr_schedule_end": "hold", "n_epochs_ref": 50, "n_steps": None}
    loss = {"action_weight": 5, "reward_weight": 1, "value_weight": 1, "smooth_coeff": 0.001, "smooth_type": "uniform"}
    others = {"discount": 0.99, "termination_penalty": -100, "grad_norm_clip": 1, "ema_decay": 0.995}
    dropout = {"embd_pdrop": 0.1, "attn_pdrop": 0.1, "resid_pdrop": 0.1}
    for key, value in (model | optimizer | schedule | loss | others | dropout).items():
        assert paper[key] == value, key


def test_the_released_codes_training_settings() -> None:
    released = offline("train", "table4-released", "hopper-medium-v2", "adacat")
    assert (released["smooth_coeff"], released["n_epochs_ref"], released["lr_schedule_end"]) == (0.002, 200, "rise")


def test_medium_replay_is_trained_longer() -> None:
    assert offline("train", "table4", "hopper-medium-replay-v2", "adacat")["n_epochs_ref"] == 80


@pytest.mark.parametrize("preset", ["table4", "table4-released"])
@pytest.mark.parametrize(
    ("dataset", "parameterization", "expected"),
    [
        (
            "hopper-medium-v2",
            "adacat",
            {"drop_act": 0, "cdf_act": 0, "use_ema": False, "horizon": 15, "beam_width": 128},
        ),
        ("walker2d-medium-v2", "adacat", {"drop_act": 0.6, "cdf_act": 0, "use_ema": True, "sampling": "uniform"}),
        ("halfcheetah-medium-v2", "adacat", {"drop_act": 0.6, "use_ema": True, "horizon": 5, "beam_width": 32}),
        ("halfcheetah-medium-v2", "uniform", {"cdf_act": 0.6, "use_ema": False, "horizon": 5, "sampling": "midpoint"}),
        ("hopper-medium-v2", "quantile", {"cdf_act": 0.6, "drop_act": 0, "use_ema": False, "sampling": "midpoint"}),
    ],
)
def test_the_papers_planning(preset: str, dataset: str, parameterization: str, expected: dict[str, Any]) -> None:
    plan = offline("plan", preset, dataset, parameterization)
    assert {key: plan[key] for key in expected} == expected
    common = {"k_obs": 1, "k_act": None, "k_rew": 1, "n_expand": 2, "plan_freq": 1, "max_context_transitions": 5}
    assert {key: plan[key] for key in common} == common


def test_pick_fills_a_dataclass_with_the_flags_of_its_names() -> None:
    @dataclasses.dataclass(frozen=True)
    class Searching:
        beam_width: int
        discount: float = 0.5

    class Parser(CommandParser):
        """Search."""

        beam_width: int = 3  # beams
        horizon: int = 5  # steps

    arguments = Parser().parse(["--beam_width", "7"])
    assert pick(Searching, arguments) == Searching(7)
    assert pick(Searching, arguments, discount=0.9) == Searching(7, 0.9)


def test_a_reference_to_a_reference_is_filled_and_a_circle_refused(config: Path) -> None:
    parsed = train(config, "--suffix", "{exp_name}", "--exp_name", "run_{seed}", "--seed", "4")
    assert parsed.suffix == "run_4"
    with pytest.raises(InputError, match="refer to each other"):
        train(config, "--suffix", "{exp_name}", "--exp_name", "{suffix}")
