#!/bin/sh
# Installs this project and clients/celery into the virtual environment $VENV, with exactly the packages of $LAYERS, by
# their hashes. $LOCKS is the folder of these files, INSTALLER the environment whose uv or pip does it.
# Where CONSTRAINTS names a file of pip constraints, it installs the packages of the extras $EXTRAS under them instead,
# and creates another $VENV without a pip.
set -eu
: "${VENV:=.venv}"
: "${INSTALLER:=$VENV}"
: "${LOCKS:=.}"
: "${LAYERS:=requirements.lock requirements-run.lock requirements-dev.lock}"
export PIP_DISABLE_PIP_VERSION_CHECK=1

if ! [ -x "$VENV/bin/python" ]; then
    "$INSTALLER/bin/python" -m venv --without-pip "$VENV"
fi
# The build warns of folders in the working directory that have the package's name, which is what is wanted here.
export PYTHONWARNINGS=ignore

install() {
    [ -t 2 ] || set -- --quiet "$@"
    if [ -x "$INSTALLER/bin/uv" ]; then
        "$INSTALLER/bin/uv" pip install --python "$VENV/bin/python" "$@" && return
        echo "uv cannot install them; pip does" >&2
    fi
    # What runs often is compiled afterwards, on all processors; the tools of `make check` need not be.
    "$INSTALLER/bin/python" -m pip --python "$VENV/bin/python" install --no-compile "$@"
}

echo "Installing into $VENV (once for each change of the locked packages)"
if [ -n "${CONSTRAINTS:-}" ]; then
    install --editable ".[$EXTRAS]" --editable ./clients/celery --constraint "$CONSTRAINTS"
    exit
fi
set --
for layer in $LAYERS; do
    set -- "$@" --requirement "$LOCKS/$layer"
done
install --require-hashes "$@"
# The locked setuptools builds them.
install --no-deps --no-build-isolation --editable . --editable ./clients/celery
