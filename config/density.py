"""Presets of the density experiments, by the names of the flags; sections and layers are those of config/offline.py.

"small" finishes in minutes on two cores and smooths tables and audio from coarse to fine. "small-published" is the same
with the paper's constant kernel; images are not smoothed. "paper" has the paper's settings for its datasets, meant for
a GPU.
"""

from typing import Any

ANNEALED = {"smooth_start": 0.2, "smooth_bins": 1.0}

SMALL_TABULAR = {
    "tabular": {
        "hidden": 64,
        "n_hidden": 2,
        "frequencies": 6,
        "batch_size": 512,
        "n_steps": 1000,
        "optimizer": "adam",
        "learning_rate": 3e-3,
        "weight_decay": 1e-4,
        "beta2": 0.999,
        "ema_decay": 0.99,
    },
    "tabular:uniform": {"N": 64},
    "tabular:quantile": {"N": 64},
    "tabular:logistic_mixture": {"n_components": 21},
}


# Main text and released code: 400 epochs, the rate halved every 100. Supplementary C.1 says every 100 steps, and 1e-4.
PAPER_TABULAR = {
    "n_hidden": 3,
    "n_epochs": 400.0,
    "optimizer": "adam",
    "learning_rate": 3e-4,
    "weight_decay": 1e-4,
    "beta2": 0.999,
    "lr_schedule": "halve",
    "lr_halve_every": 0.25,
}


def paper_table(b: int, hidden: int, scale: float, k: int, n_uniform: int, batch: int) -> dict[str, Any]:
    """Return the paper's settings for a table: frequencies, units, lambda, bins of both forms, rows of a batch."""
    return {
        "tabular": {"frequencies": b, "hidden": hidden, "batch_size": batch},
        "tabular:adacat": {"n_bins": k, "smooth_coeff": scale, "smooth_type": "normal"},
        "tabular:uniform": {"N": n_uniform},
        "tabular:quantile": {"N": n_uniform},
    }


PAPER_TABLES = {
    "power": paper_table(32, 500, 1e-5, 100, 100, 10_000),
    "gas": paper_table(32, 1000, 1e-4, 1000, 200, 10_000),
    "hepmass": paper_table(4, 500, 1e-4, 100, 300, 10_000),
    "miniboone": paper_table(8, 500, 1e-4, 100, 100, 1000),  # the supplementary: 32 pairs of Fourier features
}


def heads_of(n_outputs: int) -> dict[str, dict[str, int]]:
    """Return the sections of the forms for image models of ``n_outputs`` outputs, an even number, for each pixel.

    The logistic mixture has three outputs for each component, so it has the nearest multiple of 3.
    """
    bins = {"adacat": {"n_bins": n_outputs // 2}, "adaptive_quantile": {"n_bins": n_outputs}}
    bins |= {"uniform": {"N": n_outputs}, "quantile": {"N": n_outputs}}
    components = {"logistic_mixture": {"n_components": round(n_outputs / 3)}}
    return {f"images:{form}": values for form, values in (bins | components).items()}


SMALL_IMAGES = {
    "images": {
        "shrink": 2,
        "n_validation": 500,
        "n_test": 1000,
        "n_layer": 2,
        "n_head": 4,
        "n_embd": 16,
        "dropout": 0.0,
        "batch_size": 16,
        "n_steps": 400,
        "optimizer": "adamw",
        "learning_rate": 3e-3,
        "weight_decay": 0.1,
        "lr_warmup": 0.05,
        "grad_norm_clip": 1.0,
        "ema_decay": 0.99,
    },
    **heads_of(128),
}
# Supplementary C.2; the released code clips gradients to 1.0. Its rate decays to a tenth, as minGPT's.
PAPER_IMAGES = {
    "images": {
        "n_layer": 4,
        "n_head": 4,
        "n_embd": 192,
        "dropout": 0.1,
        "batch_size": 20,
        "n_epochs": 100.0,
        "optimizer": "adamw",
        "learning_rate": 3e-4,
        "weight_decay": 0.1,
        "lr_end": 0.1,
        "lr_warmup": 0.01,
        "grad_norm_clip": 0.1,
    },
    **heads_of(512),
}


def audio_heads(n_outputs: int, smooth: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the sections of the forms for models of speech of ``n_outputs`` outputs for each sample, as `heads_of`."""
    return {
        "audio:adacat": {"n_bins": n_outputs // 2, **smooth},
        **{f"audio:{form}": {"N": n_outputs} for form in ("uniform", "quantile", "mu_law")},
        "audio:logistic_mixture": {"n_components": round(n_outputs / 3)},
    }


SMALL_AUDIO = {
    "crop": 512,
    "n_fft": 256,
    "hop": 64,
    "n_mels": 20,
    "training_seconds": 300.0,
    "validation_seconds": 4.0,
    "test_seconds": 12.0,
    "n_layers": 7,
    "n_stacks": 1,
    "kernel": 2,
    "residual": 16,
    "skip": 32,
    "batch_size": 4,
    "n_steps": 1000,
    "optimizer": "adam",
    "learning_rate": 5e-3,
    "weight_decay": 0.0,
    "beta2": 0.999,
    "lr_warmup": 0.05,
    "grad_norm_clip": 1.0,
    "ema_decay": 0.98,
}
# Section 4.3 and supplementary C.4, with the sizes of the WaveNet that it names. lambda 1e-4: 30 and 256 outputs.
PAPER_AUDIO = {
    "crop": 1024,
    "n_fft": 1024,
    "hop": 256,
    "n_mels": 80,
    "validation_seconds": 60.0,
    "test_seconds": None,
    "n_layers": 24,
    "n_stacks": 4,
    "kernel": 3,
    "residual": 128,
    "skip": 128,
    "batch_size": 8,
    "n_steps": 500_000,
    "optimizer": "adam",
    "learning_rate": 1e-3,
    "weight_decay": 0.0,
    "beta2": 0.999,
    "lr_schedule": "halve",
    "lr_halve_every": 0.4,
    "ema_decay": 0.9999,
}
PUBLISHED_AUDIO_SMOOTHING = {"smooth_coeff": 1e-4}

PRESETS: dict[str, Any] = {
    "small": {
        **SMALL_TABULAR,
        **SMALL_IMAGES,
        "tabular:adacat": {"n_bins": 32, "smooth_coeff": 0.001, **ANNEALED},
        "audio": SMALL_AUDIO,
        **audio_heads(30, {"smooth_coeff": 1e-4, **ANNEALED}),
    },
    "small-published": {
        **SMALL_TABULAR,
        **SMALL_IMAGES,
        "tabular:adacat": {"n_bins": 32, "smooth_coeff": 1e-4, "smooth_type": "normal"},
        "audio": SMALL_AUDIO,
        **audio_heads(30, PUBLISHED_AUDIO_SMOOTHING),
    },
    "paper": {
        "tabular": PAPER_TABULAR,
        **PAPER_IMAGES,
        "audio": PAPER_AUDIO,
        **audio_heads(256, PUBLISHED_AUDIO_SMOOTHING),
        "datasets": PAPER_TABLES,
    },
}
PAPER_DATASETS = ("power", "gas", "hepmass", "miniboone", "ljspeech")
DEFAULT_PRESETS = {**dict.fromkeys(PAPER_DATASETS, "paper"), "*": "small"}
