#!/bin/sh
# The model of my_package.py, in a few minutes on two cores; more settings may be typed behind it.
cd "$(dirname "$0")" || exit
exec python -m sweeper model._target_=my_package.build model.width=128 model.layers=4 \
    model._batch_=my_package.batch model._loss_=my_package.loss hydra/sweeper=optuna space=quick \
    workload.sequence_length=64 hydra.sweeper.n_trials=6 "$@"
