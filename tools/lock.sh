#!/bin/sh
# Writes requirements.lock: what the image installs, each package with its hashes, of the newest versions that setup.cfg allows.
# Writes requirements.cdx.json from it, a software bill of materials (CycloneDX).
# It needs no environment but a Python; `uv` resolves the versions.
set -eu
cd "$(dirname "$0")/.."
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
"${PYTHON:-python3}" -m venv "$place"
"$place/bin/python" -m pip install --quiet uv cyclonedx-bom
# The image builds this project without a look at the network, so what builds it is locked as well.
echo 'setuptools>=77' >"$place/build.in"
{
    echo '# Written by "make lock"; the image installs exactly this (pip install --require-hashes).'
    "$place/bin/uv" pip compile setup.cfg "$place/build.in" --extra flower --extra oidc --extra otel --universal --generate-hashes \
        --python-version 3.13 --no-header --no-annotate --no-emit-index-url --quiet
} >"$place/requirements.lock"
mv "$place/requirements.lock" requirements.lock
# Reproducible: without the moment and a random serial number, so that it changes with the packages alone.
"$place/bin/cyclonedx-py" requirements requirements.lock --output-reproducible --output-format JSON \
    --output-file requirements.cdx.json
