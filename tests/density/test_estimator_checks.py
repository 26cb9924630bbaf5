"""scikit-learn's own checks of estimators, where scikit-learn is installed."""

import pytest

from trajectory_adacat.density import AdaCatDensity

checks = pytest.importorskip("sklearn.utils.estimator_checks", reason="scikit-learn is not installed")

DO_NOT_APPLY = {
    "check_estimators_dtypes": "columns of whole numbers are refused",
    "check_dtype_object": "an entry that is no number is an InputError, which is a ValueError and no TypeError",
    "check_array_api_input": "arrays of other libraries are not accepted",
}


@pytest.mark.filterwarnings("ignore:Estimator AdaCatDensity does not inherit")  # so that scikit-learn is optional
def test_the_checks_that_apply_pass() -> None:
    found = checks.check_estimator(
        AdaCatDensity(max_steps=2), expected_failed_checks=DO_NOT_APPLY, on_fail=None, on_skip=None
    )
    assert len(found) > 30
    bad = {check["check_name"]: check["exception"] for check in found if check["status"] == "failed"}
    assert not bad
