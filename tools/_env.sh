# Sourced by the scripts: leaves $ROOT and $PYTHON, an interpreter that has all
# of requirements/pinned.txt and this checkout installed.
#
# The active environment is taken where there is one (conda's "base" does not
# count), otherwise .venv, made on first use with $PYTHON or the first suitable
# interpreter on the PATH.

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)

die() {
    echo "$*" >&2
    exit 1
}

python_is_supported() {
    "$1" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 13))' \
        >/dev/null 2>&1
}

find_python() {
    local candidate
    for candidate in python3 python3.11 python3.12 python3.13 python3.10 python; do
        if python_is_supported "$candidate"; then
            echo "$candidate"
            return
        fi
    done
    return 1
}

stamp() {
    cat "$ROOT"/requirements/*.txt "$ROOT/setup.py" "$ROOT/pyproject.toml" | cksum
}

use_active_environment() {
    PYTHON=$1/bin/python
    python_is_supported "$PYTHON" || die "The active environment $1 has $("$PYTHON" -V 2>&1)," \
        "mmal needs Python 3.10, 3.11, 3.12 or 3.13. Deactivate it, or activate another one."
    "$PYTHON" "$ROOT/tools/misc/install_requirements.py" || exit 1
}

use_own_environment() {
    local base=${PYTHON:-} venv=$ROOT/.venv
    PYTHON=$venv/bin/python
    if [ "$(cat "$venv/mmal.stamp" 2>/dev/null)" = "$(stamp)" ] && python_is_supported "$PYTHON"; then
        return
    fi
    if ! { python_is_supported "$PYTHON" && "$PYTHON" -m pip --version >/dev/null 2>&1; }; then
        [ -n "$base" ] || base=$(find_python) || die "mmal needs Python 3.10, 3.11, 3.12 or 3.13 and found" \
            "$(python3 -V 2>&1 || echo none). Install one, or name it: PYTHON=/path/to/python3.11 bash $0"
        python_is_supported "$base" || die "$base is $("$base" -V 2>&1), mmal needs Python 3.10, 3.11, 3.12 or 3.13."
        echo "Making $venv with $("$base" -V)"
        "$base" -m venv --clear "$venv" || die "Could not make $venv." \
            "On Debian and Ubuntu the module is in the package python3-venv."
    fi
    rm -f "$venv/mmal.stamp"
    "$PYTHON" "$ROOT/tools/misc/install_requirements.py" --exact || exit 1
    stamp >"$venv/mmal.stamp"
}

if [ -n "${VIRTUAL_ENV:-}" ]; then
    use_active_environment "$VIRTUAL_ENV"
elif [ -n "${CONDA_PREFIX:-}" ] && [ "${CONDA_DEFAULT_ENV:-}" != base ]; then
    use_active_environment "$CONDA_PREFIX"
else
    use_own_environment
fi
