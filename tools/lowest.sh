#!/bin/sh
# Proves the lower bounds of setup.cfg: runs the unit tests and every process kind on the environment $1, which holds them.
set -eu
cd "$(dirname "$0")/.."
bin=$1/bin
# Nothing is compiled yet, so each process would compile what it imports.
unset DATABASE_URL BROKER_URL PYTHONDONTWRITEBYTECODE

# The demo starts the API, a node, the dispatcher and the sender of webhooks as real processes, on servers of its own,
# and runs a job through them. It mostly waits, so the tests run beside it.
printed=$(mktemp)
trap 'wait; rm -f "$printed"' EXIT
"$bin/ava" demo >"$printed" 2>&1 &
demo=$!
# Rewriting the assertions of every test file would take as long as a sixth of the tests.
# Docs, deployment and statements are the same on every version.
"$bin/python" -m pytest -q --assert=plain -n 3 --dist loadfile --hypothesis-profile=brief tests/unit --ignore=tests/unit/project
"$bin/python" -c 'from ava.telemetry.otel import Tracer; Tracer("worker").close(0)'
if ! wait "$demo"; then
    cat "$printed" >&2
    echo "ava: a process kind does not start on the lowest versions of setup.cfg's ranges; raise the bound" >&2
    exit 1
fi
echo "Every process kind starts on the lowest versions, and a job runs to its end"
