#!/bin/sh
# Creates the virtual environment $VENV with what fills environments: uv, or a pip that is not slow. If Python or its
# venv module is missing, root on Debian gets them installed; anyone else reads one line that says what to do.
set -eu
: "${VENV:=.venv}"
: "${LOCKS:=.}"
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
if ! [ -x "$VENV/bin/python" ]; then
    echo "Making $VENV with $("$python" --version)"
    "$python" -m venv "$VENV"
fi

# install PACKAGE: as it is locked.
install() {
    sed -n "/^$1==/,/[^\\]\$/p" "$LOCKS/requirements-run.lock" >"$VENV/installer.txt"
    "$VENV/bin/python" -m pip install --quiet --no-compile --require-hashes --requirement "$VENV/installer.txt"
}

# uv takes a third of pip's time. It does not read pip's settings, so pip does the work where they name an index; the
# one that comes with Python 3.11 takes twice as long as a newer one.
if "$VENV/bin/python" -m pip config list | grep index >/dev/null || ! install uv; then
    install pip
fi
