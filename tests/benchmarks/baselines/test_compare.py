"""Critics are compared with baselines on what neither was trained on."""

from collections.abc import Callable
from pathlib import Path

import pytest
from scipy.stats import spearmanr

from benchmarks.advantages import held_out
from benchmarks.baselines import compare
from benchmarks.baselines.networks import CRITIC, ActionValues
from trajectory_adacat.critic.checkpoint import load_critic
from trajectory_adacat.errors import InputError
from trajectory_adacat.scripts import critic

from .conftest import COLLECTED, MakeBaseline

Train = Callable[..., Path]


@pytest.fixture
def train(make_baseline: MakeBaseline, tmp_path: Path) -> Train:
    """Trains a tiny critic, and returns its folder."""

    def train(*flags: str) -> Path:
        sizes = ["--hidden_size", "8", "--n_steps", "2", "--batch_size", "8", "--holdout_fraction", "0.4"]
        penalty = [] if "--termination_penalty" in flags else ["--termination_penalty", "none"]
        critic.main(
            ["--dataset", COLLECTED, "--logbase", str(tmp_path), "--verbose", "false", *sizes, *penalty, *flags]
        )
        return tmp_path / COLLECTED / "critic" / "iql_0"

    return train


def test_correlates_q_on_the_held_out_transitions(
    make_baseline: MakeBaseline, train: Train, capsys: pytest.CaptureFixture[str]
) -> None:
    baseline, trained = make_baseline(holdout_fraction=0.4), train()
    compare.main(["--baseline", str(baseline), "--critic", str(trained)])
    first, *lines = capsys.readouterr().out.splitlines()
    loaded = load_critic(trained)
    transitions = held_out(loaded)
    assert f"on {len(transitions)} held-out transitions" in first
    theirs = ActionValues.load(baseline / CRITIC).q(transitions.observations.numpy(), transitions.actions.numpy())
    ours = loaded.critic.q(transitions.observations, transitions.actions).mean(0).numpy()
    assert lines[0] == f"| Q with Q | {spearmanr(theirs, ours).statistic:.3f} |"
    assert [line.split(" | ")[0] for line in lines[3:5]] == ["| V with V", "| Q - V with Q - V"]


@pytest.mark.parametrize(
    ("flags", "record", "message"),
    [
        (["--termination_penalty", "-100"], {}, "termination_penalty of the baseline is None, of the critic -100"),
        (["--discount", "0.9"], {}, "discount of the baseline is 0.99, of the critic 0.9"),
        ([], {"train_seed": 1}, "seed of the baseline is 1, of the critic 0"),
        ([], {"dataset": {"sha256": "other"}}, "file of the dataset"),
    ],
)
def test_what_was_trained_otherwise_is_refused(
    make_baseline: MakeBaseline, train: Train, flags: list[str], record: dict[str, object], message: str
) -> None:
    trained = train(*flags)
    baseline = make_baseline(holdout_fraction=0.4, **record)
    with pytest.raises(InputError, match=message):
        compare.main(["--baseline", str(baseline), "--critic", str(trained)])
