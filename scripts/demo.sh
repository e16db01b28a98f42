#!/usr/bin/env bash
# The main job on a fresh machine: set up, enroll, identify.
#
#   bash scripts/demo.sh                     with the model that ships
#   bash scripts/demo.sh --train DATA [...]  first train a small network of your own on a folder or pack of people,
#                                            for five minutes; what follows DATA goes to `facedex train`
set -euo pipefail
cd "$(dirname "$0")/.."
root=$PWD
data=() model=()
if [ "${1:-}" = --train ]; then
    [ $# -ge 2 ] || { echo "demo.sh: --train needs a folder or pack of people" >&2; exit 2; }
    shift
    [ -e "$1" ] || { echo "demo.sh: $1 does not exist" >&2; exit 2; }
    data=("$@")
elif [ $# -gt 0 ]; then
    echo "usage: bash scripts/demo.sh [--train DATA [OPTIONS OF facedex train]]" >&2
    exit 2
fi

if [ ! -x .venv-demo/bin/python ]; then
    "${PYTHON:-python3}" -m venv .venv-demo
fi
python=$root/.venv-demo/bin/python
extra=
if [ ${#data[@]} -gt 0 ]; then extra='[train]'; fi
echo "installing facedex$extra into .venv-demo …"
"$python" -m pip install --quiet --disable-pip-version-check ".$extra"

if [ ${#data[@]} -gt 0 ]; then
    mkdir -p demo
    "$python" -m facedex train "${data[@]}" -o demo/model.safetensors --minutes 5
    model=(--model "$root/demo/model.safetensors")
fi
"$python" scripts/demo.py ${model[@]+"${model[@]}"}
