#!/bin/sh
# A script around Accelerate, in a few minutes on two cores; more settings may be typed behind it.
cd "$(dirname "$0")" || exit
exec python -m sweeper +script=train.py \
    'script.args="--batch-size {micro_batch} --accumulation {gradient_accumulation}"' \
    workload.global_batch_size=8 hydra/sweeper=optuna space=quick hydra.sweeper.n_trials=6 "$@"
