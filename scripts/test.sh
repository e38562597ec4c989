#!/usr/bin/env bash
# The whole check, as CI runs it: style, types, tests. Arguments go to pytest: bash scripts/test.sh -k verify
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source scripts/environment.sh

prepare_environment
$python -m ruff check
$python -m ruff format --check
$python -m mypy
# two processes for two cores: their own threads would only wait for each other
OMP_NUM_THREADS=1 $python -m pytest --numprocesses 2 --dist loadfile --durations=10 "$@"
