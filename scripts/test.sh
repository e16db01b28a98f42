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
"$python" -m scripts.fetch_portraits .data/portraits || echo "the portraits could not be fetched" >&2
"$python" -m ruff check .
"$python" -m ruff format --check .
"$python" -m mypy
if [ $# -gt 0 ]; then exec "$python" -m pytest "$@"; fi
"$python" -m pytest
# The main job with the lowest versions that pyproject.toml allows: on Python 3.10 where there is one.
oldest=python3.10
"$oldest" --version >/dev/null 2>&1 || oldest=${PYTHON:-python3}
if [ ! -x .venv-lowest/bin/python ]; then "$oldest" -m venv .venv-lowest; fi
lowest=$PWD/.venv-lowest/bin/python
echo "installing the lowest versions of the dependencies into .venv-lowest, for $("$lowest" --version) …"
"$python" -m scripts.lowest_versions | xargs "$lowest" -m pip install --quiet --disable-pip-version-check -e . \
    pytest pytest-timeout 'setuptools>=77'
"$lowest" -m pytest tests/test_wheel.py tests/test_gallery.py tests/test_cli.py
