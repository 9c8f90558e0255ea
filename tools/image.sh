#!/bin/sh
# Builds the image and runs the whole system of docker-compose.yml from it, in a project of its own that it deletes again:
# migrates, runs a job to its end, and checks each container's user, capabilities and file system. Needs docker or podman
# with compose. ENGINE and COMPOSE choose others (ENGINE=podman COMPOSE="podman compose"); API_PORT is the API's port.
set -eu
cd "$(dirname "$0")/.."
: "${API_PORT:=18080}"
export API_PORT

SERVICES="api worker dispatcher webhooks"
# Seconds within which a container must be healthy.
PATIENCE=120

fail() {
    echo "ava: $*" >&2
    exit 1
}

choose_engine() {
    for candidate in ${ENGINE:-docker podman}; do
        if command -v "$candidate" >/dev/null && "$candidate" info >/dev/null 2>&1; then
            echo "$candidate"
            return
        fi
    done
}

choose_compose() {
    if [ -n "${COMPOSE:-}" ]; then
        echo "$COMPOSE"
    elif "$engine" compose version >/dev/null 2>&1; then
        echo "$engine compose"
    elif command -v "$engine-compose" >/dev/null; then
        echo "$engine-compose"
    fi
}

engine=$(choose_engine)
[ -n "$engine" ] || fail "no container engine is running: install and start docker or podman, or name one with ENGINE="
compose=$(choose_compose)
[ -n "$compose" ] || fail "$engine has no compose: install its compose plugin, or name one with COMPOSE="

COMPOSE_PROJECT_NAME=ava-image-$$
secrets=$(mktemp)
tools/compose_env.sh "$secrets" >/dev/null
# shellcheck disable=SC1090 # the file has just been written
. "$secrets"
rm "$secrets"
AVA_HANDLERS=workers,workers.sleep
SOURCE_COMMIT=$(git rev-parse HEAD 2>/dev/null || true)
export SOURCE_COMMIT
export AVA_HANDLERS COMPOSE_PROJECT_NAME POSTGRES_PASSWORD DATABASE_PASSWORD BROKER_PASSWORD AVA_INTERNAL_SECRET AVA_ENCRYPTION_KEY

run() {
    # shellcheck disable=SC2086 # a compose command is one word or two
    $compose "$@"
}

finish() {
    code=$?
    if [ "$code" != 0 ]; then
        run logs --tail 50 >&2 || true
    fi
    run down --volumes --timeout 60 >/dev/null 2>&1 || true
    exit "$code"
}
trap finish EXIT
trap 'exit 130' INT TERM

within() {
    service=$1
    shift
    run exec -T "$service" "$@"
}

state_of() {
    "$engine" inspect --format "$2" "$(run ps --all --quiet "$1")"
}

await_health() {
    deadline=$(($(date +%s) + PATIENCE))
    while [ "$(state_of "$1" '{{.State.Health.Status}}')" != healthy ]; do
        [ "$(state_of "$1" '{{.State.Status}}')" = running ] || fail "$1 has ended"
        [ "$(date +%s)" -lt "$deadline" ] || fail "$1 is not healthy after $PATIENCE s"
        sleep 1
    done
    echo "ok  $1 is healthy"
}

echo "Building the image with $engine"
run build

echo "Starting the servers and migrating the database"
run up --detach postgres redis
for service in postgres redis; do
    await_health "$service"
done
run run --rm migrate

echo "Starting the system"
# shellcheck disable=SC2086 # the names are words
run up --detach $SERVICES
for service in $SERVICES; do
    await_health "$service"
done

# `ava, version 0.1.0+43c5ae0a1b2c`
build=$(within api ava --version | sed 's/.* //')
short=$(echo "$SOURCE_COMMIT" | cut -c 1-12)
[ "${build#*+}" = "${short:-$build}" ] || fail "the image says that it is build $build, and it is of commit $short"
echo "ok  the image is build $build"

within worker ava celery check --help >/dev/null || fail "the image lacks ava-celery"

project=$(mktemp -d)
within api sh -c 'cd /tmp && ava new order-mails >&2 && tar -C order-mails -c .' | tar -x -C "$project"
sed -i 's/^dependencies = \[\]/dependencies = ["tabulate"]/' "$project/pyproject.toml"
"$engine" build --tag "$COMPOSE_PROJECT_NAME" "$project"
rm -r "$project"
"$engine" run --rm --entrypoint python "$COMPOSE_PROJECT_NAME" -c 'import tabulate, order_mails' ||
    fail "the image of a new project lacks its handlers or its packages"
"$engine" image rm "$COMPOSE_PROJECT_NAME" >/dev/null
echo "ok  the image of a new project has its handlers and their packages"

within api ava jobs trigger wkr_sleep --input '{"seconds": 1}' --follow || fail "the job did not complete"
echo "ok  a job ran to its end"

for service in $SERVICES; do
    [ "$(within "$service" id -u)" = 10001 ] || fail "$service does not run as user 10001"
    # The entry point is tini, which starts the command; neither may have a capability.
    within "$service" grep -q '^CapEff:[[:space:]]*0*$' /proc/1/status || fail "$service has capabilities"
    for place in / /opt/ava /handlers /etc; do
        if within "$service" sh -c ": >$place/ava-was-here" 2>/dev/null; then
            fail "$service can write into $place"
        fi
    done
    within "$service" sh -c ': >/tmp/ava-was-here' || fail "$service cannot write into /tmp"
done
echo "ok  no container runs as root, has a capability, or can write into the image"

# shellcheck disable=SC2086
run stop --timeout 60 $SERVICES
for service in $SERVICES; do
    [ "$(state_of "$service" '{{.State.ExitCode}}')" = 0 ] || fail "$service did not exit with code 0 after SIGTERM"
done
echo "ok  every container exits with code 0"

# A tag cannot hold the plus.
tag=ava-jobs:$(echo "$build" | tr + -)
"$engine" tag ava-jobs "$tag"
echo "The image is $tag"
