#!/bin/sh
# Creates the virtual environment $VENV and installs this project into it, with the packages for development.
# CONSTRAINTS names a file of pip constraints. If Python or its venv module is missing, root on Debian gets them installed;
# anyone else reads one line that says what to do.
set -eu
: "${VENV:=.venv}"

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
echo "Installing into $VENV (once for each change of setup.cfg)"
"$VENV/bin/python" -m pip install --quiet --disable-pip-version-check --editable '.[embedded,dev]' \
    ${CONSTRAINTS:+--constraint "$CONSTRAINTS"}
