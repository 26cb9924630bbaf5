"""Settings of the offline experiments: values only. Where each comes from is said in docs/flags.md.

A section "train" or "plan" holds values for the flags of that name; "plan:adacat" holds for one parameterization alone.
Later goes before earlier: BASE, the preset, the preset's "datasets" ("hopper-medium" means hopper-medium-v2 and
hopper-medium-collected; a full name goes before it), the command line.
"""

BASE = {
    "train": {
        # model
        "parameterization": "adacat",
        "n_bins": 50,  # AdaCat's k: 2k outputs a token
        "N": 100,  # fixed bins of uniform and quantile
        "n_layer": 4,
        "n_head": 4,
        "n_embd": 32,  # per head
        "embedding": "shared",
        "positions": "learned",
        "standardize": False,
        "embd_pdrop": 0.1,
        "attn_pdrop": 0.1,
        "resid_pdrop": 0.1,
        # data
        "subsampled_sequence_length": 10,
        "step": 1,
        "discount": 0.99,
        "termination_penalty": -100.0,
        "holdout_fraction": 0.05,
        # loss
        "action_weight": 5.0,
        "reward_weight": 1.0,
        "value_weight": 1.0,
        "smooth_coeff": 0.001,  # full width
        "smooth_type": "uniform",
        # optimization
        "batch_size": 256,
        "accumulate": 1,  # parts of a batch
        "optimizer": "adamw",
        "learning_rate": 6e-4,
        "muon_learning_rate": 0.02,  # where the optimizer is Muon
        "weight_decay": 0.1,
        "beta1": 0.9,
        "beta2": 0.95,
        "grad_norm_clip": 1.0,
        "lr_decay": True,
        "warmup_epochs": 1.0,
        "final_epochs": 20.0,
        "lr_schedule_end": "hold",  # after the 20th epoch's tokens the rate stays at its tenth
        "ema_decay": 0.995,
        "n_epochs_ref": 50.0,  # epochs = 1e6 / dataset size * n_epochs_ref
        "n_steps": None,  # a number of steps in place of n_epochs_ref
        "precision": "float32",
        "compile": False,
        # bookkeeping
        "n_saves": 3,
        "log_freq": 100,
        "exp_name": "gpt/{parameterization}_{seed}",
    },
    "plan": {
        "gpt_loadpath": "gpt/adacat_0",
        "gpt_epoch": "latest",
        "horizon": 15,
        "beam_width": 128,
        "n_expand": 2,
        "k_obs": 1,
        "k_act": None,
        "k_rew": 1,
        "cdf_act": 0.0,
        "cdf_obs": 0.0,
        "drop_act": 0.0,
        "drop_obs": 0.0,
        "sampling": "uniform",
        "use_ema": False,
        "percentile": "mean",
        "plan_freq": 1,
        "max_context_transitions": 5,
        "prefix_context": True,
        "window": "cropped",
        "n_rollouts": 3,  # one seed each
        "vis_freq": 50,
        "max_episode_length": 1000,
        "exp_name": "plans/{gpt_loadpath}/H{horizon}_beam{beam_width}",
    },
}

# The paper's planning, and by dataset what it did otherwise.
PAPER_PLANNING = {
    "plan:adacat": {"drop_act": 0.6},
    "plan:uniform": {"cdf_act": 0.6, "sampling": "midpoint"},
    "plan:quantile": {"cdf_act": 0.6, "sampling": "midpoint"},
}
# Trajectory Transformer's values for the sets that the paper leaves out.
MEDIUM_REPLAY = {"train": {"n_epochs_ref": 80.0}}
HORIZON_5 = {"plan": {"horizon": 5}}
ANT = {"train": {"batch_size": 128}, **HORIZON_5}
ANCESTOR_DATASETS = {
    "halfcheetah-medium-replay": {**MEDIUM_REPLAY, **HORIZON_5},
    "halfcheetah-medium-expert": HORIZON_5,
    "hopper-medium-replay": MEDIUM_REPLAY,
    "walker2d-medium-replay": MEDIUM_REPLAY,
    "walker2d-medium-expert": HORIZON_5,
    "ant-medium": ANT,
    "ant-medium-replay": {"train": {**MEDIUM_REPLAY["train"], **ANT["train"]}, **HORIZON_5},
    "ant-medium-expert": ANT,
    "ant-random": ANT,
}
HALFCHEETAH_MEDIUM = {"plan": {"horizon": 5, "beam_width": 32}, "plan:adacat": {"use_ema": True}}
HOPPER_MEDIUM = {"plan:adacat": {"drop_act": 0.0}}
WALKER2D_MEDIUM = {"plan:adacat": {"use_ema": True}}

# Not the paper's: what learns fastest in minutes on a CPU.
SMALL_MODEL = {
    "n_layer": 3,
    "n_head": 4,
    "n_embd": 16,
    "embedding": "per_dimension",
    "standardize": True,
    "embd_pdrop": 0.0,
    "attn_pdrop": 0.0,
    "resid_pdrop": 0.0,
    "subsampled_sequence_length": 5,
    "batch_size": 64,
    "optimizer": "muon",
    "learning_rate": 2e-3,
    "weight_decay": 0.01,
    "warmup_epochs": 0.1,
    "final_epochs": None,  # the cosine ends with the training
}
# Few and likely actions: a search over many finds what the model is wrong about (see results/README.md).
SMALL_PLANNING = {
    "plan": {
        "horizon": 3,
        "beam_width": 32,
        "cdf_act": 0.8,
        "use_ema": True,
        "max_context_transitions": 2,
        "window": "full",
    },
    "plan:uniform": {"sampling": "midpoint"},
    "plan:quantile": {"sampling": "midpoint"},
}

PRESETS = {
    # The paper's words.
    "table4": {
        "train": {"smooth_coeff": 0.001, "n_epochs_ref": 50.0, "lr_schedule_end": "hold"},
        **PAPER_PLANNING,
        "datasets": {
            **ANCESTOR_DATASETS,
            "halfcheetah-medium": HALFCHEETAH_MEDIUM,
            "hopper-medium": HOPPER_MEDIUM,
            "walker2d-medium": WALKER2D_MEDIUM,
        },
    },
    # The released code: twice the width, four times the epochs, a cosine that rises again.
    "table4-released": {
        "train": {"smooth_coeff": 0.002, "n_epochs_ref": 200.0, "lr_schedule_end": "rise"},
        **PAPER_PLANNING,
        "datasets": {
            **ANCESTOR_DATASETS,
            "halfcheetah-medium": HALFCHEETAH_MEDIUM,
            "hopper-medium": HOPPER_MEDIUM,
            "walker2d-medium": WALKER2D_MEDIUM,
        },
    },
    # What learns fastest on a CPU: some 30 minutes on one core.
    "cpu": {
        "train": {**SMALL_MODEL, "n_steps": 10_000, "n_saves": 5},
        **SMALL_PLANNING,
    },
    # Smaller still: minutes in all.
    "demo": {
        "train": {**SMALL_MODEL, "n_steps": 2500, "n_saves": 1, "log_freq": 250},
        **SMALL_PLANNING,
    },
}

# The preset of a dataset when none is named: the first pattern that fits its name.
DEFAULT_PRESETS = {"minari:*": "cpu", "*-v2": "table4", "*": "cpu"}
