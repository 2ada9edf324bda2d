#!/bin/sh
# The unit tests in an environment of their own: other_python.sh <python> <folder> [--lowest]
# Without torch and DeepSpeed, which not every Python has a small build of: what needs them is skipped, and
# listed. Without what searches for minutes, too, whose numbers are the same everywhere. QUICK=1 takes what is most
# likely to differ: composition, tables, pictures, reports.
set -eu
python=$1 folder=$2
shift 2
cd "$(dirname "$0")/../.."
runs() { "$1" -c "" 2> /dev/null; }
if ! runs "$python"; then  # pyenv has those that are not chosen beside its shims
    for there in "${PYENV_ROOT:-$HOME/.pyenv}"/versions/"${python#python}".*/bin/python; do
        python=$there
    done
fi
if ! runs "$python"; then
    echo "skipped: no $python here"
    exit 0
fi
"$python" -m venv --clear "$folder"
"$python" tests/packaging/requirements.py --without torch,deepspeed "$@" > "$folder/requirements.txt"
"$folder/bin/python" -m pip install --quiet --disable-pip-version-check -r "$folder/requirements.txt"
tests=tests/unit
if [ -n "${QUICK:-}" ]; then
    tests=
    for what in compose golden figures page report trials_table settings terminal_text hardware walls; do
        tests="$tests tests/unit/test_$what.py"
    done
fi
# shellcheck disable=SC2086  # words are meant
exec "$folder/bin/python" -m pytest -q -n 2 --dist loadfile -p no:cacheprovider $tests \
    --ignore tests/unit/test_planted_answer.py --ignore tests/unit/test_planted_objectives.py
