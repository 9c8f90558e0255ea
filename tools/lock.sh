#!/bin/sh
# Writes what every environment installs, each package with its hashes: requirements.lock for the image,
# requirements-run.lock what `make run` needs beside it, requirements-dev.lock what tests, checks and docs need beside both.
# One resolution for all extras and every supported Python, so that the image holds what the tests ran on. Locked
# versions stay where setup.cfg allows them; with --upgrade each becomes the newest allowed one.
# Writes requirements.cdx.json from the image's, a software bill of materials (CycloneDX).
# It needs no environment but a Python; `uv` resolves the versions. $LOCKS is the folder of the four files.
set -eu
cd "$(dirname "$0")/.."
: "${LOCKS:=.}"
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
"${PYTHON:-python3}" -m venv "$place"
"$place/bin/python" -m pip install --quiet uv cyclonedx-bom
# The project is built without a look at the network, so what builds it is locked as well, and what fills environments.
echo 'setuptools>=77' >"$place/build.in"
printf 'uv>=0.5\npip>=24\n' >"$place/installer.in"

compile() {
    "$place/bin/uv" pip compile "$@" --generate-hashes --no-header --no-annotate --no-emit-index-url --quiet
}

# resolve NAME ARGUMENT…: a layer of the resolution, without the packages of earlier layers.
resolve() {
    name=$1
    shift
    touch "$place/requirements.lock"
    # shellcheck disable=SC2046 # one argument for each word
    set -- "$@" $(sed -n 's/^\([a-z0-9-]*\)==.*/--no-emit-package \1/p' "$place"/requirements*.lock)
    {
        echo '# Written by "make lock". Install it with --require-hashes.'
        compile setup.cfg "$place/build.in" --constraint "$place/all" --universal --python-version 3.11 "$@"
    } >"$place/$name.part"
    mv "$place/$name.part" "$place/$name"
}

image="--extra flower --extra oidc --extra otel"
run="$image --extra embedded $place/installer.in"
# Every extra but celery-tasks, whose one package is this project's own.
all="$run --extra apply --extra async --extra docs --extra test --extra dev"
cat requirements*.lock >"$place/all"
# shellcheck disable=SC2086 # the lists are words
{
    compile setup.cfg "$place/build.in" $all --universal --python-version 3.11 --output-file "$place/all" "$@" >/dev/null
    resolve requirements.lock $image
    resolve requirements-run.lock $run
    resolve requirements-dev.lock $all
}
mkdir -p "$LOCKS"
cp "$place"/requirements*.lock "$LOCKS"
# Reproducible: without the moment and a random serial number, so that it changes with the packages alone.
compile "$place/requirements.lock" --python-version 3.13 --python-platform linux >"$place/image"
"$place/bin/cyclonedx-py" requirements "$place/image" --output-reproducible --output-format JSON \
    --output-file "$LOCKS/requirements.cdx.json"
