#!/usr/bin/env bash
# Active learning with several processes on one machine, or on several.
#
#   bash tools/dist_train.sh CONFIG GPUS [arguments of tools/al_train.py]
#
# On several machines run it on each with NNODES, NODE_RANK (0, 1, …), the
# address of the first as MASTER_ADDR and the same PORT. Without a GPU the
# processes run on the CPU. PYTHON names the interpreter.
set -euo pipefail

if [ $# -lt 2 ]; then
    echo "Usage: bash $0 CONFIG GPUS [arguments of tools/al_train.py]" >&2
    exit 2
fi
CONFIG=$1
GPUS=$2
shift 2

PYTHON=${PYTHON:-python}
TOOLS=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
NNODES=${NNODES:-1}
NODE_RANK=${NODE_RANK:-0}
MASTER_ADDR=${MASTER_ADDR:-127.0.0.1}
if [ -z "${PORT:-}" ]; then
    [ "$NNODES" -eq 1 ] || { echo "With NNODES=$NNODES set PORT to the same free port on every machine." >&2; exit 2; }
    PORT=$("$PYTHON" -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
fi

PYTHONPATH="$TOOLS/..${PYTHONPATH:+:$PYTHONPATH}" exec "$PYTHON" -m torch.distributed.run \
    --nnodes="$NNODES" --node_rank="$NODE_RANK" --nproc_per_node="$GPUS" \
    --master_addr="$MASTER_ADDR" --master_port="$PORT" \
    "$TOOLS/al_train.py" "$CONFIG" --launcher pytorch "$@"
