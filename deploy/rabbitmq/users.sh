#!/bin/sh
# Least rights on RabbitMQ, one user a process kind, in the virtual host ava: `AVA_QUEUES='default|reports' users.sh PASSWORD_API
# PASSWORD_DISPATCHER PASSWORD_WORKER`. Each process gets a BROKER_URL with its own user, as in
# amqps://ava_api:PASSWORD@rabbitmq/ava; the sender of webhooks and `ava db` connect to no broker and need no BROKER_URL.
# RabbitMQ compares each pattern with the name of a queue or of an exchange; the default exchange, through which jobs are
# published, is amq.default.
set -eu
[ $# = 3 ] || { sed -n '2,6p' "$0" >&2; exit 2; }
queues="(${AVA_QUEUES:-default})"
ctl=${RABBITMQCTL:-rabbitmqctl}

create() {
    "$ctl" add_user "$1" "$2" 2>/dev/null || "$ctl" change_password "$1" "$2"
    # What it may configure (declare), write (publish) and read (consume).
    "$ctl" set_permissions --vhost ava "$1" "$3" "$4" "$5"
}

"$ctl" add_vhost ava 2>/dev/null || true
# Each process looks in the queue ava.reset_marker whose virtual host it is.
marker='ava\.reset_marker'
create ava_api "$1" "^($queues|$marker|(reply\\.)?celery\\.pidbox)\$" '^(amq\.default|celery\.pidbox)$' "^$marker\$"
create ava_dispatcher "$2" "^($queues|ava\\..*|celery\\.pidbox)\$" '^(amq\.default|celery\.pidbox)$' "^($queues|ava\\..*)\$"
create ava_worker "$3" "^($queues|$marker|.*\\.celery\\.pidbox|celery\\.pidbox|celeryev.*)\$" "^($queues|amq\\.default|.*celery\\.pidbox|celeryev)\$" "^($queues|$marker|.*celery\\.pidbox|celeryev)\$"
