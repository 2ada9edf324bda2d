#!/bin/sh
# The unit tests in an environment of their own: other_python.sh <python> <folder> [--lowest]
# Without torch and DeepSpeed, which not every Python has a small build of: what needs them is skipped, and
# listed. Without what searches for minutes, too, whose numbers are the same everywhere.
set -eu
python=$1 folder=$2
shift 2
cd "$(dirname "$0")/../.."
if ! "$python" -c "" 2> /dev/null; then
    echo "skipped: no $python here"
    exit 0
fi
"$python" -m venv --clear "$folder"
"$python" tests/packaging/requirements.py --without torch,deepspeed "$@" > "$folder/requirements.txt"
"$folder/bin/python" -m pip install --quiet --disable-pip-version-check -r "$folder/requirements.txt"
exec "$folder/bin/python" -m pytest -q -n 2 --dist loadfile -p no:cacheprovider tests/unit \
    --ignore tests/unit/test_planted_answer.py --ignore tests/unit/test_planted_objectives.py \
    ${MORE_OPTIONS:-}
