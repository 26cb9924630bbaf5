"""The forms that the presets compare."""

import pytest

from trajectory_adacat.config.density import audio_heads, heads_of
from trajectory_adacat.density.forms import AUDIO_FORMS


@pytest.mark.parametrize("n_outputs", [30, 32, 64, 128, 256, 512])
def test_the_forms_have_equal_outputs_and_the_mixture_the_nearest_multiple_of_three(n_outputs: int) -> None:
    for section, settings in (heads_of(n_outputs) | audio_heads(n_outputs, {})).items():
        form = section.split(":")[1]
        _, head = AUDIO_FORMS[form](**settings).make(1, 4)
        expected = 3 * round(n_outputs / 3) if form == "logistic_mixture" else n_outputs
        assert head.weight.shape[-1] == expected
