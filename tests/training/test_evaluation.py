"""Negative log-likelihoods and the windows that they are computed on."""

import itertools
from pathlib import Path

import pytest
import torch

from trajectory_adacat.datasets.sequences import SequenceDataset
from trajectory_adacat.training.evaluation import evaluation_batches, negative_log_likelihoods

from .conftest import DROPOUT, MakeTrainer, RecordingDataset


def test_negative_log_likelihoods_do_not_depend_on_the_batch_size(
    make_trainer: MakeTrainer, windows: SequenceDataset, tmp_path: Path
) -> None:
    model = make_trainer(tmp_path, form=DROPOUT).model.train()
    found = [negative_log_likelihoods(model, list(evaluation_batches(windows, size))) for size in (5, 24)]
    assert found[0] == pytest.approx(found[1])


def test_all_is_the_mean_over_unpadded_tokens(
    make_trainer: MakeTrainer, windows: SequenceDataset, tmp_path: Path
) -> None:
    model = make_trainer(tmp_path).model.eval()
    batch = windows.batch(torch.arange(24))
    log_prob = model(batch.tokens[:, :-1]).log_prob(batch.tokens[:, 1:]).detach()[batch.mask[:, 1:]]
    assert negative_log_likelihoods(model, [batch])["all"] == pytest.approx(-float(log_prob.double().mean()))


@pytest.mark.parametrize(("n_windows", "expected"), [(24, list(range(24))), (1, [0])])
def test_small_datasets_are_evaluated_completely(windows: SequenceDataset, n_windows: int, expected: list[int]) -> None:
    recorded = RecordingDataset(windows)
    recorded._windows._starts = windows._starts[:n_windows]
    list(evaluation_batches(recorded, 7))  # type: ignore[arg-type]
    assert list(itertools.chain(*recorded.requested)) == expected
