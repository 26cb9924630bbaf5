"""Presets and per-dataset settings of the offline experiments, by the names of the flags. docs/flags.md says where each
value comes from. Defaults are in the code, and ``--help`` shows them.

A section "train", "critic" or "plan" holds values for that command; "plan:adacat" for one parameterization alone. Later
sources override earlier ones: the defaults, the preset, the preset's "datasets" ("hopper-medium" means hopper-medium-v2
and hopper-medium-collected; a full name overrides it), the command line. Where a critic scores the plans, "plan_critic"
overrides all of "plan".
"""

# Cutoffs by bin do not apply to a mixture of logistic distributions.
WITHOUT_BINS = {"k_obs": None, "k_rew": None}

# 4 candidates from all bins: of more, some are actions that the critic overrates (see docs/critic.md).
FEW_CANDIDATES = {"horizon": 1, "beam_width": 2, "n_expand": 2, "cdf_act": 0.0, "drop_act": 0.0}

# The paper's planning; its exceptions by dataset follow below.
PAPER_PLANNING = {
    "plan:adacat": {"drop_act": 0.6},
    "plan:uniform": {"cdf_act": 0.6, "sampling": "midpoint"},
    "plan:quantile": {"cdf_act": 0.6, "sampling": "midpoint"},
    "plan:logistic_mixture": WITHOUT_BINS,
    "plan_critic": FEW_CANDIDATES,
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
PAPER_DATASETS = {
    **ANCESTOR_DATASETS,
    "halfcheetah-medium": HALFCHEETAH_MEDIUM,
    "hopper-medium": HOPPER_MEDIUM,
    "walker2d-medium": WALKER2D_MEDIUM,
}

# Not the paper's: a small model that learns in minutes on a CPU.
SMALL_MODEL = {
    "n_layer": 3,
    "n_head": 4,
    "n_embd": 16,
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
    "offset_init": "normal",  # 0.06 nats per dimension better than zero after 1,000 steps (docs/training.md)
}
ANNEALED = {"smooth_start": 0.2, "smooth_bins": 1.0}
SCALAR_INPUTS = {"embedding": "per_dimension", "standardize": True}  # for heads with a scalar embedding
# Few candidates from all bins: a wider search exploits errors of the model (see results/README.md).
SMALL_PLANNING = {
    "plan": {
        "horizon": 3,
        "beam_width": 2,
        "use_ema": True,
        "max_context_transitions": 2,
        "window": "full",
    },
    "plan:uniform": {"sampling": "midpoint"},
    "plan:quantile": {"sampling": "midpoint"},
    "plan:logistic_mixture": WITHOUT_BINS,
    "plan_critic": FEW_CANDIDATES,
}

PRESETS = {
    # As the paper describes it.
    "table4": {
        **PAPER_PLANNING,
        "datasets": PAPER_DATASETS,
    },
    # The paper's with AdaCat's smoothing annealed from coarse to fine.
    "table4-annealed": {
        "train:adacat": {"smooth_start": 0.2},
        **PAPER_PLANNING,
        "datasets": PAPER_DATASETS,
    },
    # The released code: twice the width, four times the epochs, a cosine that rises again, a head of larger weights.
    "table4-released": {
        "train": {"n_epochs_ref": 200.0, "lr_schedule_end": "rise", "head_init": "uniform"},
        "train:adacat": {"smooth_coeff": 0.002},
        **PAPER_PLANNING,
        "datasets": PAPER_DATASETS,
    },
    # The paper's models, with a critic that scores few candidates. It trains for as many steps as IQL's.
    "table4-critic": {
        "critic": {"n_steps": 1_000_000, "mc_steps": 125_000, "log_freq": 1000},
        "plan": {"scoring": "critic"},
        **PAPER_PLANNING,
        "datasets": PAPER_DATASETS,
    },
    # A small model that learns fast on a CPU.
    "cpu": {
        "train": {**SMALL_MODEL, "n_steps": 5000, "n_saves": 5},
        "train:adacat": {**SCALAR_INPUTS, **ANNEALED},
        "train:logistic_mixture": SCALAR_INPUTS,
        **SMALL_PLANNING,
    },
    # A shorter training of the same model: minutes in all.
    "demo": {
        "train": {**SMALL_MODEL, "n_steps": 1800, "n_saves": 1, "log_freq": 250},
        "critic": {"n_saves": 1, "log_freq": 1000},
        "train:adacat": {**SCALAR_INPUTS, **ANNEALED},
        "train:logistic_mixture": SCALAR_INPUTS,
        **SMALL_PLANNING,
    },
}

# The preset of a dataset when none is named: the first pattern that fits its name.
DEFAULT_PRESETS = {"minari:*": "cpu", "*-v2": "table4", "*": "cpu"}
