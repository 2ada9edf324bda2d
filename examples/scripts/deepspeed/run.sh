#!/bin/sh
# A plain DeepSpeed loop, in a few minutes on two cores; more settings may be typed behind it.
cd "$(dirname "$0")" || exit
exec python -m sweeper +script=train.py 'script.args="--deepspeed_config ds_config.json"' \
    hydra/sweeper=optuna space=quick hydra.sweeper.n_trials=6 "$@"
