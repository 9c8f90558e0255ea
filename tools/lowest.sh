#!/bin/sh
# Proves the lower bounds of setup.cfg: runs the unit tests and every process kind on the environment $1, which holds them.
set -eu
cd "$(dirname "$0")/.."
bin=$1/bin
# The demo starts servers of its own. Nothing is compiled yet, so each process would compile what it imports.
unset DATABASE_URL BROKER_URL PYTHONDONTWRITEBYTECODE

"$bin/python" -m pytest -q -n 3 --dist loadfile --hypothesis-profile=brief tests/unit
"$bin/python" -c 'from ava.otel import Tracer; Tracer("worker").close(0)'
# The demo starts the API, a node, the dispatcher and the sender of webhooks as real processes, and runs a job through them.
printed=$(mktemp)
trap 'rm -f "$printed"' EXIT
if ! "$bin/ava" demo >"$printed" 2>&1; then
    cat "$printed" >&2
    echo "ava: a process kind does not start on the lowest versions of setup.cfg's ranges; raise the bound" >&2
    exit 1
fi
echo "Every process kind starts on the lowest versions, and a job runs to its end"
