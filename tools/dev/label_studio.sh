#!/usr/bin/env bash
# A Label Studio of one's own, to try mmal with, and for the tests marked
# label_studio.
#
#   bash tools/dev/label_studio.sh install VENV          about two minutes
#   bash tools/dev/label_studio.sh start VENV DATA PORT [PHOTOS]
#   bash tools/dev/label_studio.sh test VENV [arguments of pytest]
#
# VENV is an environment that is made for Label Studio alone: it needs other
# versions of common packages than mmal. DATA is the folder of its database,
# PHOTOS the folder whose files tasks may name (the "document root"). The first
# start takes about a minute, for it makes the database. Name, password and
# token of its one user are taken from LABEL_STUDIO_USERNAME,
# LABEL_STUDIO_PASSWORD and LABEL_STUDIO_USER_TOKEN.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/label_tool.sh"

command=$1
venv=$2
shift 2

case $command in
install)
    install_into "$venv" 'label-studio>=1.23,<1.24'
    say_version "$venv" label-studio 'Label Studio'
    ;;
start)
    [ $# -ge 2 ] || usage
    # Photos are served from this folder alone. Of the addresses that Label
    # Studio calls nobody at, its own machine is allowed, where mmal serve
    # listens. Nothing is reported to anybody.
    export LOCAL_FILES_SERVING_ENABLED=true
    export LOCAL_FILES_DOCUMENT_ROOT=${3:-$1}
    export USE_DEFAULT_BANNED_SUBNETS=false
    export USER_ADDITIONAL_BANNED_SUBNETS=0.0.0.0/8,10.0.0.0/8,100.64.0.0/10,169.254.0.0/16,172.16.0.0/12,192.168.0.0/16
    export COLLECT_ANALYTICS=false LATEST_VERSION_CHECK=false SENTRY_DSN= FRONTEND_SENTRY_DSN=
    mkdir -p "$1"
    exec "$venv/bin/label-studio" start --no-browser \
        --internal-host 127.0.0.1 --port "$2" --data-dir "$1" --log-level "${LABEL_STUDIO_LOG_LEVEL:-WARNING}" \
        --username "${LABEL_STUDIO_USERNAME:-mmal@example.com}" \
        --password "${LABEL_STUDIO_PASSWORD:-mmal-labels}" \
        ${LABEL_STUDIO_USER_TOKEN:+--enable-legacy-api-token --user-token "$LABEL_STUDIO_USER_TOKEN"}
    ;;
test)
    MMAL_LABEL_STUDIO=$(cd "$venv" && pwd -P)
    export MMAL_LABEL_STUDIO
    run_marked label_studio tests/test_serving/test_label_studio.py "$@"
    ;;
*)
    usage
    ;;
esac
