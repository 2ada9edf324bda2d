#!/usr/bin/env bash
# Collects in FOLDER (default .whl) the wheels that a GPU host without a network lacks, for its Python
# (PYTHON_VERSION, default 3.12, x86-64), so that the project runs there on that host's own torch:
#   there:  python3 -m pip install -q --no-index --no-deps --no-compile --target .site .whl/*.whl
#           PYTHONPATH=$PWD/.site:$PWD make test-gpu
# torch, triton, numpy, pandas, matplotlib, pytest, psutil, rich, tqdm, jinja2, einops, ninja, msgpack,
# filelock, packaging and pyyaml are taken to be there already. Versions are those of constraints.txt.
set -euo pipefail
folder=${1:-.whl}
version=${PYTHON_VERSION:-3.12}
python=${PYTHON:-python3}
mkdir -p "$folder"
pinned() { for name in "$@"; do grep -iE "^${name}==" constraints.txt; done; }
# Published as source, pure Python: built here.
DS_BUILD_OPS=0 "$python" -m pip wheel -q --no-deps -w "$folder" $(pinned deepspeed antlr4-python3-runtime)
platforms=()
for glibc in 39 35 34 31 28 27 24 17; do platforms+=(--platform "manylinux_2_${glibc}_x86_64"); done
"$python" -m pip download -q --no-deps --only-binary=:all: --python-version "$version" \
  --implementation cp "${platforms[@]}" --platform manylinux2014_x86_64 --platform manylinux1_x86_64 \
  -d "$folder" $(pinned optuna hydra-core omegaconf alembic mako colorlog sqlalchemy greenlet hjson \
    pydantic pydantic_core annotated-types typing-inspection typing_extensions py-cpuinfo pytest-timeout)
ls -1 "$folder"
