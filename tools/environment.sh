#!/bin/sh
# Creates the virtual environment $VENV and installs this project into it, with the packages of the extras $EXTRAS.
# CONSTRAINTS names a file of pip constraints, INSTALLER the environment whose uv and pip do it. If Python or its venv
# module is missing, root on Debian gets them installed; anyone else reads one line that says what to do.
set -eu
: "${VENV:=.venv}"
: "${INSTALLER:=$VENV}"
: "${EXTRAS:=embedded,flower,otel,test,dev}"
export PIP_DISABLE_PIP_VERSION_CHECK=1

usable() {
    "$1" -c 'import sys, ensurepip, venv; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1
}

choose_python() {
    for candidate in ${PYTHON:-} python3 python3.13 python3.12 python3.11; do
        if usable "$candidate"; then
            echo "$candidate"
            return
        fi
    done
}

install_python() {
    if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
        echo "ava: Python 3.11 or newer with its venv module is needed; on Debian: apt-get install python3 python3-venv" >&2
        exit 1
    fi
    echo "Installing Python and its venv module"
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends python3 python3-venv ca-certificates >/dev/null
}

python=$(choose_python)
if [ -z "$python" ]; then
    install_python
    python=$(choose_python)
fi
if [ -z "$python" ]; then
    echo "ava: Python 3.11 or newer is needed, and this machine's packages have none; name one with PYTHON=" >&2
    exit 1
fi
# uv takes a third of pip's time. It does not read pip's settings, so pip does the work where they name an index.
get_uv() {
    ! "$VENV/bin/python" -m pip config list | grep index >/dev/null &&
        "$VENV/bin/python" -m pip install --quiet --no-compile "uv>=0.5"
}

if ! [ -x "$VENV/bin/python" ]; then
    echo "Making $VENV with $("$python" --version)"
    if [ -x "$INSTALLER/bin/uv" ]; then
        "$INSTALLER/bin/uv" venv --quiet --python "$python" "$VENV"
    else
        "$python" -m venv "$VENV"
        get_uv || true
    fi
fi

# What runs often is compiled afterwards, on all processors; the tools of `make check` need not be.
# The build warns of folders in the working directory that have the package's name, which is what is wanted here.
export PYTHONWARNINGS=ignore
set -- --editable ".[$EXTRAS]" ${CONSTRAINTS:+--constraint "$CONSTRAINTS"}
[ -t 2 ] || set -- --quiet "$@"

echo "Installing into $VENV (once for each change of setup.cfg)"
if [ -x "$INSTALLER/bin/uv" ]; then
    "$INSTALLER/bin/uv" pip install --python "$VENV/bin/python" "$@" && exit
    echo "uv cannot install them; pip does" >&2
    "$INSTALLER/bin/python" -m pip uninstall --quiet --yes uv
fi
# The pip that comes with Python 3.11 takes twice as long as a newer one.
"$INSTALLER/bin/python" -m pip install --quiet --upgrade pip
"$INSTALLER/bin/python" -m pip --python "$VENV/bin/python" install --no-compile "$@"
