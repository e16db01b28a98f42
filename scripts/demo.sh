#!/usr/bin/env bash
# The main job on a fresh machine: set up, enroll, identify.
#
#   bash scripts/demo.sh                     with the model that ships
#   bash scripts/demo.sh --train DATA [...]  first fit it to a folder or pack of people of your own;
#                                            what follows DATA goes to `facedex train`
set -euo pipefail
here=$PWD
root=$(cd "$(dirname "$0")/.." && pwd)
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

cd "$root"
if [ ! -x .venv-demo/bin/python ]; then
    "${PYTHON:-python3}" -m venv .venv-demo
fi
python=$root/.venv-demo/bin/python
echo "installing facedex into .venv-demo …"
"$python" -m pip install --quiet --disable-pip-version-check .

if [ ${#data[@]} -gt 0 ]; then
    mkdir -p demo
    model=(--model "$root/demo/model.safetensors")
    (cd "$here" && "$python" -m facedex train "${data[@]}" -o "${model[1]}") || {
        [ $? -eq 1 ] || exit 2
        echo "demo.sh: going on with the model that ships"
        model=()
    }
fi
"$python" -m scripts.demo ${model[@]+"${model[@]}"}
