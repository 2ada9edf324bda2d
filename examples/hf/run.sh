#!/bin/sh
# A small Qwen by its config.json, in a few minutes on two cores; more settings may be typed behind it.
cd "$(dirname "$0")" || exit
exec python -m sweeper +model=hf model.config=config.json hydra/sweeper=optuna space=quick \
    workload.sequence_length=128 hydra.sweeper.n_trials=6 "$@"
