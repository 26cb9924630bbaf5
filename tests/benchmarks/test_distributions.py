"""The benchmark of the smoothed loss compares methods that compute the same."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest
import torch


@pytest.fixture(scope="module")
def benchmark() -> ModuleType:
    path = Path(__file__).parents[2] / "benchmarks" / "distributions.py"
    spec = importlib.util.spec_from_file_location("benchmark_of_the_distributions", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("bins", [7, 60])
def test_all_methods_agree_in_value_and_gradient(benchmark: ModuleType, bins: int) -> None:
    pytest.importorskip("adacat.torch")
    results: dict[str, list[tuple[torch.Tensor, torch.Tensor]]] = {"uniform": [], "normal": []}
    for evaluate, kernel in benchmark.METHODS.values():
        params, targets = benchmark.make_batch(2, bins)
        values = evaluate(params.double(), targets.double(), kernel)
        results[kernel].append((values, torch.autograd.grad(values.sum(), params)[0]))
    for (value, gradient), *others in results.values():
        assert others
        for other_value, other_gradient in others:
            torch.testing.assert_close(other_value, value, rtol=1e-4, atol=1e-4)
            torch.testing.assert_close(other_gradient, gradient, rtol=1e-3, atol=1e-3)


def test_a_measurement_has_a_row_of_the_table(benchmark: ModuleType) -> None:
    measured = benchmark.measure("trajectory_adacat, uniform kernel", 5, 1, 2)
    assert measured.seconds > 0
    assert measured.error < 1e-5
    row = {"bins": 5, "method": "this one", "seconds": 0.0123, "peak_mib": 4.6, "error": 2e-7}
    assert benchmark.to_markdown([row]).splitlines()[-1] == "| 5 | this one | 12 | 5 | 2e-07 |"
