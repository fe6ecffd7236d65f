#!/usr/bin/env bash
# Is mmal right on this GPU, and how fast? Tests, claims of the docs, short
# real runs and speeds, in at most 9 minutes; report.json grows as it goes.
#
#   bash tools/gpu_check.sh [FOLDER [arguments of tools/gpu/check.py]]
#
# FOLDER (default: gpu_check) gets report.json and the log of each step. The
# Python is that of the active environment, or $PYTHON, with a torch for the
# GPU; wheels in .whl/ are installed into an environment on top of it, without
# asking any index. docs/gpu.md says how to read the report. Without a GPU a
# pretended one shows that the script runs to its end:
#
#   MMAL_PRETEND_GPU=1 bash tools/gpu_check.sh
set -euo pipefail

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
PYTHON=${PYTHON:-python3}
OUT=${1:-gpu_check}
[ $# -eq 0 ] || shift
mkdir -p "$OUT"
OUT=$(cd "$OUT" && pwd -P)

if compgen -G "$ROOT/.whl/*.whl" >/dev/null; then
    venv=$(mktemp -d)/venv
    trap 'rm -rf "$(dirname "$venv")"' EXIT
    "$PYTHON" -m venv --system-site-packages "$venv"
    PYTHON=$venv/bin/python
    "$PYTHON" -m pip install --quiet --disable-pip-version-check --no-index --no-deps "$ROOT"/.whl/*.whl
fi

cd "$ROOT"
"$PYTHON" tools/gpu/check.py "$OUT" "$@"
