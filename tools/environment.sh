#!/bin/sh
# Creates the virtual environment $VENV and installs this project into it, with the packages of the extras $EXTRAS.
# CONSTRAINTS names a file of pip constraints. STEP=make ends before the packages. If Python or its venv module is missing, root on Debian gets them installed;
# anyone else reads one line that says what to do.
set -eu
: "${VENV:=.venv}"
: "${EXTRAS:=embedded,flower,otel,test,dev}"

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
    # The pip that comes with Python 3.11 takes twice as long as a newer one.
    "$VENV/bin/python" -m pip install --quiet --disable-pip-version-check --upgrade pip
fi

[ "${STEP:-}" != make ] || exit 0

install_packages() {
    # What runs often is compiled afterwards, on all processors; the tools of `make check` need not be.
    # The build warns of folders in the working directory that have the package's name, which is what is wanted here.
    PYTHONWARNINGS=ignore "$VENV/bin/python" -m pip install --disable-pip-version-check --progress-bar off --no-compile --editable ".[$EXTRAS]" \
        ${CONSTRAINTS:+--constraint "$CONSTRAINTS"}
}

# One line that is redrawn on a terminal; elsewhere nothing but the first and the last.
show_progress() {
    awk -v redraws="$([ -t 2 ] && echo 1)" '
        /^ *(Collecting|Installing collected)/ {
            if (/^ *Collecting/) { count++; doing = count " packages found: " $2 } else { doing = "installing " count " packages" }
            if (redraws) printf "\r\033[K  %s", doing
        }
        /^Successfully installed/ { if (redraws) printf "\r\033[K"; print "  " NF - 2 " packages are installed" }
    ' >&2
}

echo "Installing into $VENV (once for each change of setup.cfg)"
# A pipe ends with the status of its last command, so that of pip has a way of its own.
status=$({ { install_packages 3>&- && echo 0 >&3 || echo 1 >&3; } | show_progress; } 3>&1)
exit "$status"
