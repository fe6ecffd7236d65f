#!/usr/bin/env bash
# Active learning as one Slurm job, one process a GPU.
#
#   bash tools/slurm_train.sh PARTITION JOB_NAME CONFIG WORK_DIR [arguments of tools/al_train.py]
#
# GPUS (8), GPUS_PER_NODE (8 at most) and CPUS_PER_TASK (5) size the job,
# SRUN_ARGS goes to srun, PYTHON names the interpreter.
set -euo pipefail

if [ $# -lt 4 ]; then
    echo "Usage: bash $0 PARTITION JOB_NAME CONFIG WORK_DIR [arguments of tools/al_train.py]" >&2
    exit 2
fi
PARTITION=$1
JOB_NAME=$2
CONFIG=$3
WORK_DIR=$4
shift 4

GPUS=${GPUS:-8}
GPUS_PER_NODE=${GPUS_PER_NODE:-$((GPUS < 8 ? GPUS : 8))}
CPUS_PER_TASK=${CPUS_PER_TASK:-5}
TOOLS=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)

# SRUN_ARGS is several words on purpose.
# shellcheck disable=SC2086
PYTHONPATH="$TOOLS/..${PYTHONPATH:+:$PYTHONPATH}" exec srun \
    --partition="$PARTITION" --job-name="$JOB_NAME" \
    --gres=gpu:"$GPUS_PER_NODE" --ntasks="$GPUS" --ntasks-per-node="$GPUS_PER_NODE" \
    --cpus-per-task="$CPUS_PER_TASK" --kill-on-bad-exit=1 ${SRUN_ARGS:-} \
    "${PYTHON:-python}" -u "$TOOLS/al_train.py" "$CONFIG" \
    --work-dir="$WORK_DIR" --launcher=slurm "$@"
