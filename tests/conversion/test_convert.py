"""Converted models compute what the original code would; another dataset is noticed."""

import h5py
import numpy as np
import pytest
import torch
from torch import Tensor

from trajectory_adacat.conversion.convert import Converted, convert
from trajectory_adacat.conversion.folder import read_folder
from trajectory_adacat.datasets import load_dataset
from trajectory_adacat.errors import InputError

from .conftest import (
    DATASET,
    LENGTHS,
    N_ACT,
    N_OBS,
    WIDTH,
    D,
    FolderWriter,
    K,
    L,
    N,
    forward,
    random_weights,
    write_data,
)


def converted_of(write_folder: FolderWriter, **options: object) -> Converted:
    folder = read_folder(write_folder(**options))  # type: ignore[arg-type]
    return convert(folder, load_dataset(DATASET, write_folder.data))


def their_rows(write_folder: FolderWriter, discount: float = 0.9, penalty: float = -100.0) -> np.ndarray:
    """Join the rows by loops, float64 ``[n, D]``."""
    with h5py.File(write_folder.data) as file:
        data = {name: file[name][:-1] for name in file}
    rewards = data["rewards"].astype(np.float64)
    rewards[data["terminals"]] = penalty
    values = np.zeros(len(rewards))
    for t in reversed(range(len(rewards) - 1)):
        if not (data["terminals"][t] or data["timeouts"][t]):
            values[t] = rewards[t + 1] + discount * values[t + 1]
    return np.column_stack([data["observations"], data["actions"], rewards, values]).astype(np.float64)


def their_thresholds(rows: np.ndarray) -> np.ndarray:
    ordered = np.sort(rows, 0)
    return np.concatenate([ordered[:: -(-len(rows) // N)], ordered[-1:]])


def their_tokens(rows: np.ndarray, thresholds: np.ndarray) -> np.ndarray:
    columns = [np.searchsorted(thresholds[:, d], rows[:, d], "right") - 1 for d in range(D)]
    return np.stack(columns, 1).clip(0, N - 1)


def outputs(model: torch.nn.Module, tokens: Tensor) -> Tensor:
    """Return the head's outputs, the last of them at the last token."""
    hidden = model.hidden(tokens)  # type: ignore[operator]
    predicted = (torch.arange(tokens.shape[1]) + 1) % D
    return torch.stack([hidden[:, p] @ model.head.weight[d] for p, d in enumerate(predicted)], 1)  # type: ignore[union-attr,index]


@pytest.fixture
def rows(write_folder: FolderWriter) -> np.ndarray:
    return their_rows(write_folder)


def windows_of(array: np.ndarray) -> Tensor:
    """Three windows, flat, without their last token."""
    return torch.from_numpy(np.stack([array[i : i + L].reshape(-1)[:-1] for i in (0, 30, 60)]))


@pytest.mark.parametrize("ema", [False, True])
def test_bins_have_the_same_tokens_logits_and_means(write_folder: FolderWriter, rows: np.ndarray, ema: bool) -> None:
    converted = converted_of(write_folder, ema=ema)
    thresholds = their_thresholds(rows)
    assert (np.diff(thresholds[:, 1]) == 0).sum() >= 2  # some coincide, at either end
    tokens = their_tokens(rows, thresholds)
    inputs = converted.normalizer.normalize(torch.from_numpy(rows))
    edges = converted.model.head.edges
    embedded = converted.model.embedding(inputs, torch.arange(D))
    vectors = random_weights(False, 10)["tok_emb.weight"]
    torch.testing.assert_close(embedded, vectors[torch.from_numpy(tokens) + N * torch.arange(D)], rtol=0, atol=0)
    reached = converted.normalizer.denormalize(edges.T)
    torch.testing.assert_close(reached, torch.from_numpy(thresholds), rtol=0, atol=1e-3)
    for model, seed in ((converted.model, 10), (converted.average, 100 if ema else 10)):
        logits = forward(random_weights(False, seed), windows_of(tokens))
        found = outputs(model, windows_of(inputs.numpy()))
        torch.testing.assert_close(found, logits[..., :N], rtol=0, atol=1e-5)
        masses = logits[..., :N].softmax(-1).double()
        midpoints = torch.from_numpy((thresholds[1:] + thresholds[:-1]) / 2)  # [N, D]
        predicted = (torch.arange(L * D - 1) + 1) % D
        means = model(windows_of(inputs.numpy())).mean
        expected = (masses * midpoints.T[predicted]).sum(-1)
        torch.testing.assert_close(
            converted.normalizer.denormalize(means, predicted), expected, rtol=1e-5, atol=1e-4  # type: ignore[arg-type]
        )  # fmt: skip


def test_values_outside_the_data_get_the_outermost_tokens(write_folder: FolderWriter, rows: np.ndarray) -> None:
    converted = converted_of(write_folder)
    outside = np.stack([rows.min(0) - 1.5, rows.max(0) + 1.5, rows.min(0), rows.max(0)])
    tokens = their_tokens(outside, their_thresholds(rows))
    embedded = converted.model.embedding(converted.normalizer.normalize(torch.from_numpy(outside)), torch.arange(D))
    vectors = random_weights(False, 10)["tok_emb.weight"]
    torch.testing.assert_close(embedded, vectors[torch.from_numpy(tokens) + N * torch.arange(D)], rtol=0, atol=0)


@pytest.mark.parametrize("ema", [False, True])
def test_adacat_has_the_same_bounds_and_parameters(write_folder: FolderWriter, rows: np.ndarray, ema: bool) -> None:
    converted = converted_of(write_folder, new=True, ema=ema)
    assert np.array_equal(converted.normalizer.low.numpy(), rows.min(0).astype(np.float32))
    assert np.array_equal(converted.normalizer.high.numpy(), rows.max(0).astype(np.float32))
    assert converted.normalizer.low[D - 2] == -100.0
    inputs = windows_of(converted.normalizer.normalize(torch.from_numpy(rows)).numpy())
    for model, seed in ((converted.model, 10), (converted.average, 100 if ema else 10)):
        parameters = forward(random_weights(True, seed), inputs)
        torch.testing.assert_close(outputs(model, inputs), parameters, rtol=0, atol=1e-5)
        widths, masses = parameters[..., :K].softmax(-1), parameters[..., K:].softmax(-1)
        expected = (masses * (widths.cumsum(-1) - widths / 2)).sum(-1)
        torch.testing.assert_close(model(inputs).mean, expected, rtol=0, atol=1e-5)


def test_settings_keep_their_meaning(write_folder: FolderWriter) -> None:
    converted = converted_of(write_folder, new=True, ema=True, penalty=None, step=2, sequence_length=2 * L)
    config = converted.config
    assert (config.data.step, config.data.subsampled_sequence_length, config.data.discount) == (2, L, 0.9)
    assert config.data.termination_penalty is None
    assert config.model.head.smooth_coeff == 0.002  # type: ignore[attr-defined]
    assert (config.model.n_embd, config.loss.action_weight, config.trainer.ema_decay) == (4, 5.0, 0.995)
    assert (converted.seed, converted.step) == (7, 60)  # 10 epochs of 95 windows, 16 in a batch
    assert converted.notes == []


def test_what_the_conversion_changes_is_said(write_folder: FolderWriter) -> None:
    stop, average = converted_of(write_folder).notes
    assert "stop token" in stop
    assert "no moving average" in average


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"discretizer": "Other"}, "only QuantileDiscretizer"),
        ({"new": True, "d_class": "other"}, "only adacat"),
        ({"block_size": 20}, "contradict"),
        ({"n_layer": 3}, "do not fit"),
        ({"batch_size": "many"}, "cannot be read|must be"),
    ],
)
def test_what_cannot_be_converted_is_refused(
    write_folder: FolderWriter, changes: dict[str, object], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        converted_of(write_folder, **changes)


def test_another_dataset_is_noticed(write_folder: FolderWriter) -> None:
    folder = read_folder(write_folder())
    with pytest.raises(InputError, match="was trained on own, not on --dataset other"):
        convert(folder, load_dataset("other", write_folder.data))
    shorter = write_data(write_folder.data, (*LENGTHS[:2], 33))
    with pytest.raises(InputError, match="trained on 95 windows, but the dataset has 94"):
        convert(folder, load_dataset(DATASET, shorter))
    wider = write_data(write_folder.data, sizes=(N_OBS + 1, N_ACT - 1))
    with pytest.raises(InputError, match=r"sizes 3 and 2, but own.hdf5 has 4 and 1"):
        convert(folder, load_dataset(DATASET, wider))


def test_the_gain_is_that_over_equal_logits(write_folder: FolderWriter, rows: np.ndarray) -> None:
    folder = read_folder(write_folder())
    tokens = their_tokens(rows, their_thresholds(rows))
    for value in folder.weights.values():
        value.zero_()
    dataset = load_dataset(DATASET, write_folder.data)
    assert convert(folder, dataset).gain == 0.0
    folder.weights["ln_f.bias"].fill_(1.0)  # now each dimension has logits that do not depend on the context
    for d in range(D):
        counts = np.bincount(tokens[:, (d + 1) % D], minlength=N + 1)
        folder.weights["head.weight"][d] = torch.from_numpy(np.log(counts + 1e-3))[:, None] / WIDTH
    assert convert(folder, dataset).gain > 0.01
    folder.weights["head.weight"].neg_()
    assert convert(folder, dataset).gain < -0.01
