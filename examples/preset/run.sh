#!/bin/sh
# The smallest preset, in a few minutes on two cores; more settings may be typed behind it.
cd "$(dirname "$0")" || exit
exec python -m sweeper +model=gpt2-nano hydra/sweeper=optuna space=quick \
    workload.sequence_length=128 hydra.sweeper.n_trials=6 "$@"
