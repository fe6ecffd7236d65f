#!/usr/bin/env bash
# Active learning as one Slurm job, one process a GPU.
#
#   bash tools/slurm_train.sh PARTITION JOB_NAME CONFIG WORK_DIR [arguments of tools/al_train.py]
#
# GPUS (8), GPUS_PER_NODE (8 at most) and CPUS_PER_TASK (5) size the job,
# SRUN_ARGS goes to srun, PYTHON names the interpreter.
#
# With REQUEUE=1 it is a batch job (SBATCH_ARGS goes to sbatch): two minutes
# before its time is up, or when it is preempted, the run saves a checkpoint,
# and the job goes back to the queue and on with --resume. Without it srun
# ends with the status of the run, which is 75 after such a stop.
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
# sbatch runs a copy of this script
TOOLS=${MMAL_TOOLS:-$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)}
STOPPED=75  # mmal/commands/errors.py

# SRUN_ARGS and SBATCH_ARGS are several words on purpose.
SIZE=(--partition="$PARTITION" --job-name="$JOB_NAME"
    --gres=gpu:"$GPUS_PER_NODE" --ntasks="$GPUS" --ntasks-per-node="$GPUS_PER_NODE"
    --cpus-per-task="$CPUS_PER_TASK")
if [ "${REQUEUE:-0}" = 1 ] && [ -z "${MMAL_TOOLS:-}" ]; then
    export MMAL_TOOLS=$TOOLS
    # shellcheck disable=SC2086
    exec sbatch "${SIZE[@]}" --signal=B:USR1@120 --requeue --open-mode=append \
        ${SBATCH_ARGS:-} "$TOOLS/slurm_train.sh" "$PARTITION" "$JOB_NAME" "$CONFIG" "$WORK_DIR" "$@"
fi

export PYTHONPATH="$TOOLS/..${PYTHONPATH:+:$PYTHONPATH}"
# shellcheck disable=SC2086
RUN=(srun "${SIZE[@]}" --kill-on-bad-exit=1 ${SRUN_ARGS:-}
    "${PYTHON:-python}" -u "$TOOLS/al_train.py" "$CONFIG"
    --work-dir="$WORK_DIR" --launcher=slurm "$@")
if [ -z "${MMAL_TOOLS:-}" ]; then
    exec "${RUN[@]}"
fi

[ "${SLURM_RESTART_COUNT:-0}" -eq 0 ] || RUN+=(--resume)
# srun passes the signal on to all processes of the run. The signal may come as
# soon as srun is started, and before this shell knows its number.
STEP='' EARLY=''
trap 'if [ "$STEP" ]; then kill -USR1 "$STEP" 2>/dev/null; else EARLY=1; fi' USR1 TERM
"${RUN[@]}" &
STEP=$!
[ -z "$EARLY" ] || kill -USR1 "$STEP" 2>/dev/null || true
STATUS=0
wait "$STEP" || STATUS=$?
# a signal ends wait before srun has ended
while kill -0 "$STEP" 2>/dev/null; do
    STATUS=0
    wait "$STEP" || STATUS=$?
done
if [ "$STATUS" -eq "$STOPPED" ]; then
    scontrol requeue "$SLURM_JOB_ID"
fi
exit "$STATUS"
