#!/usr/bin/env bash
# The tests on a fresh machine: set up, lint, type-check, test. Arguments go to pytest.
set -euo pipefail
cd "$(dirname "$0")/.."
if [ ! -x .venv-test/bin/python ]; then
    "${PYTHON:-python3}" -m venv .venv-test
fi
python=$PWD/.venv-test/bin/python
echo "installing facedex and what its tests need into .venv-test (torch is large) …"
"$python" -m pip install --quiet --disable-pip-version-check -e '.[train,heic,dev]'
# Without the portraits the tests that need them are skipped, and say so.
"$python" scripts/portraits.py .data/portraits || echo "the portraits could not be fetched" >&2
"$python" -m ruff check .
"$python" -m ruff format --check .
"$python" -m mypy
exec "$python" -m pytest "$@"
