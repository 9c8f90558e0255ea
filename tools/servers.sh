#!/bin/sh
# Installs the servers and programs that are missing: `tools/servers.sh redis rabbitmq chromium promtool faketime`.
# It works for root on Debian, from Debian's packages, and starts none of them as a service of the system. For any other
# user it does nothing: the program that needs one of them says so, and the closing lines of `make test`.
# Go renders the chart and builds two examples, a JDK generates and builds clients, npm installs the compiler of the
# TypeScript client. Django 6 needs a Python of 3.12 or later, which is Debian's own where ours is older.
set -eu
: "${VENV:=.venv}"

is_installed() {
    case $1 in
        redis) "$VENV/bin/python" -c 'from ava.local import programs; programs.find_redis(None)' 2>/dev/null ;;
        rabbitmq) [ -e /usr/lib/rabbitmq/bin/rabbitmq-server ] ;;
        chromium) command -v chromium >/dev/null && command -v chromedriver >/dev/null ;;
        faketime) ls /usr/lib/*/faketime/libfaketimeMT.so.1 >/dev/null 2>&1 ;;
        promtool) command -v promtool >/dev/null ;;
        pgbouncer) [ -x /usr/sbin/pgbouncer ] ;;
        docker-compose) command -v docker-compose >/dev/null ;;
        nodejs) command -v node >/dev/null ;;
        npm) command -v npm >/dev/null ;;
        golang) command -v go >/dev/null ;;
        jdk) command -v javac >/dev/null ;;
        python3-venv) /usr/bin/python3 -c 'import ensurepip' 2>/dev/null ;;
    esac
}

packages() {
    case $1 in
        chromium) echo chromium chromium-driver ;;
        promtool) echo prometheus ;;
        golang) echo golang-go ;;
        jdk) echo default-jdk-headless ;;
        faketime | docker-compose | pgbouncer | nodejs | npm | python3-venv) echo "$1" ;;
        *) echo "$1-server" ;;
    esac
}

missing=""
for server in "$@"; do
    is_installed "$server" || missing="$missing $(packages "$server")"
done
if [ -z "$missing" ] || [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
    exit 0
fi

echo "Installing$missing"
policy=/usr/sbin/policy-rc.d
if ! [ -e "$policy" ]; then
    # A package asks this file before it starts its service; 101 forbids the start.
    trap 'rm -f "$policy"' EXIT
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod 755 "$policy"
fi
apt-get update -qq
# shellcheck disable=SC2086 # the names are words
DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >/dev/null
