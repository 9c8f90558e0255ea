#!/bin/sh
# Writes the secrets that docker-compose.yml needs into `.env`, or into the file that is named, readable by its owner alone.
# Values that the file has stay as they are, so it can run again. Needs nothing but a shell.
set -eu
file=${1:-$(dirname "$0")/../.env}
umask 077
touch "$file"
chmod 600 "$file"

random() {
    head -c 32 /dev/urandom | base64
}

add() {
    grep -q "^$1=." "$file" || echo "$1=$2" >>"$file"
}

# What comes last may have no line end, because an editor has written it.
[ -z "$(tail -c 1 "$file")" ] || echo >>"$file"
for name in POSTGRES_PASSWORD DATABASE_PASSWORD BROKER_PASSWORD AVA_INTERNAL_SECRET; do
    add "$name" "$(random | LC_ALL=C tr -dc 'a-zA-Z0-9')"
done
add AVA_ENCRYPTION_KEY "$(random)"
echo "ava: $file has the secrets of docker-compose.yml; now run: docker compose up"
