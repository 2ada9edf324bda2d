#!/bin/sh
# A script around the Trainer, in a few minutes on two cores; on a GPU leave --use_cpu out.
cd "$(dirname "$0")" || exit
exec python -m sweeper +script=train.py 'script.args="--deepspeed ds_config.json --output_dir out
    --per_device_train_batch_size 1 --gradient_accumulation_steps 8 --report_to none --use_cpu"' \
    hydra/sweeper=optuna space=quick hydra.sweeper.n_trials=6 "$@"
