# What fiftyone.sh and label_studio.sh share: they source this file.
set -euo pipefail

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd -P)

# Show the comment at the head of the script that was started.
usage() {
    sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$0" >&2
    exit 2
}

# install_into VENV [options of pip] REQUIREMENT
install_into() {
    [ -x "$1/bin/python" ] || "${PYTHON:-python3}" -m venv "$1"
    "$1/bin/python" -m pip install --quiet --disable-pip-version-check "${@:2}"
}

# say_version VENV DISTRIBUTION NAME
say_version() {
    "$1/bin/python" -c "import importlib.metadata as m; print('$3', m.version('$2'))"
}

# run_marked MARK FILE [arguments of pytest]: in one process, since each would
# start a server or a database of its own.
run_marked() {
    exec bash "$ROOT/tools/run_tests.sh" -n 0 -m "$1" -rs "${@:2}"
}

[ $# -ge 2 ] || usage
