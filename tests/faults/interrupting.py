"""Flags of tiny commands that the tests of interruptions share."""

CRITIC = "--dataset own --hidden_size 8 --batch_size 8 --n_steps 9 --mc_steps 5 --n_saves 1 --log_freq 1"
SEARCH = "--dataset own --horizon 1 --beam_width 2"
COLLECT = "--dataset hopper-random-collected --transitions 50 --output data.hdf5"
