#!/usr/bin/env bash
# Installs everything (into .venv, or into the active environment) and runs
# four rounds of active learning on a small data set. Called again, it goes on
# with a run that was interrupted, or shows the finished one.
#
#   bash tools/quickstart.sh [arguments of tools/al_train.py]
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/_env.sh"

cd "$ROOT"
exec "$PYTHON" tools/al_train.py configs/al/fcos_core-set_digits.py --resume "$@"
