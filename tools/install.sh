#!/bin/sh
# Installs this project and clients/celery into the virtual environment $VENV, with the packages of the extras $EXTRAS.
# CONSTRAINTS names a file of pip constraints, INSTALLER the environment whose uv or pip does it; another $VENV is created
# without a pip.
set -eu
: "${VENV:=.venv}"
: "${INSTALLER:=$VENV}"
: "${EXTRAS:=embedded,flower,oidc,otel,test,dev}"
export PIP_DISABLE_PIP_VERSION_CHECK=1

if ! [ -x "$VENV/bin/python" ]; then
    "$INSTALLER/bin/python" -m venv --without-pip "$VENV"
fi
# What runs often is compiled afterwards, on all processors; the tools of `make check` need not be.
# The build warns of folders in the working directory that have the package's name, which is what is wanted here.
export PYTHONWARNINGS=ignore
set -- --editable ".[$EXTRAS]" --editable ./clients/celery ${CONSTRAINTS:+--constraint "$CONSTRAINTS"}
[ -t 2 ] || set -- --quiet "$@"

echo "Installing into $VENV (once for each change of setup.cfg)"
if [ -x "$INSTALLER/bin/uv" ]; then
    "$INSTALLER/bin/uv" pip install --python "$VENV/bin/python" "$@" && exit
    echo "uv cannot install them; pip does" >&2
fi
"$INSTALLER/bin/python" -m pip --python "$VENV/bin/python" install --no-compile "$@"
