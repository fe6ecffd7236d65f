#!/usr/bin/env bash
# Installs everything (into .venv, or into the active environment) and runs
# the test suite with two processes of one thread each.
#
#   bash tools/run_tests.sh [arguments of pytest, paths from the root]
#   bash tools/run_tests.sh -m "not run"    # without runs that train
#   bash tools/run_tests.sh --pretend-gpu [the same]
#
# The last runs the tests for GPUs alone, on one that is pretended: it needs a
# C++ compiler and a torch built for CPUs, see tests/helpers/pretended_gpu.
# Without it they are skipped where there is no GPU.
#
# A process takes over the tests of the other when it has none left, so that
# most files stay in one process, which makes what their tests share once.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/_env.sh"

cd "$ROOT"
export OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1
if [ "${1:-}" = --pretend-gpu ]; then
    export MMAL_PRETEND_GPU=1
    set -- -m cuda "${@:2}"
fi
exec "$PYTHON" -m pytest -q -n 2 --dist worksteal "$@"
