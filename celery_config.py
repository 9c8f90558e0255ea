"""Celery's settings that are the same everywhere; `ava.broker.celery_app` adds those that depend on the environment.

Each name is a setting of the Celery manual ("Configuration and defaults").
"""

# Only JSON crosses the broker.
task_serializer = "json"
result_serializer = "json"
event_serializer = "json"
accept_content = ["json"]
result_accept_content = ["json"]

# PostgreSQL holds the results; Celery stores none.
task_ignore_result = True
result_backend = None

# Exact priority: a message stays in the broker until a process is free to run it.
task_acks_late = True
worker_prefetch_multiplier = 1
worker_disable_prefetch = True
# A lost run is rescued through the database, so its message is acknowledged.
task_reject_on_worker_lost = False
task_acks_on_failure = True
task_acks_on_timeout = True

task_queue_max_priority = 10
task_default_priority = 5
task_create_missing_queues = True
# A message is a notification that can be repeated; writing it to the broker's disk gains nothing.
task_default_delivery_mode = "transient"

# After a network cut, a node reconnects while RabbitMQ still holds its former connection. An exclusive control queue
# would be locked then, and the node would end. The queue expires by itself (control_queue_expires). It is declared
# durable because RabbitMQ removes support for queues that are neither exclusive nor durable.
control_queue_exclusive = False
control_queue_durable = True

broker_connection_retry_on_startup = True
broker_connection_retry = True
# None: retry without end, because a broker may be unreachable for hours.
broker_connection_max_retries = None
broker_connection_timeout = 3
broker_heartbeat = 20
# Jobs go on while the broker is unreachable: the database decides which run holds a job.
worker_cancel_long_running_tasks_on_connection_loss = False
worker_enable_soft_shutdown_on_idle = False

# Celery's prefork pool with the take-ahead protocol. AVA_POOL=celery sets "prefork" instead (ava.node.signals).
worker_pool = "ava.node.celery_internals.pool:JobPool"
# Celery's consumer, which reconnects sooner.
worker_consumer = "ava.node.celery_internals.consumer:JobConsumer"

# Off until Flower or `celery events` asks for them (`enable_events`), because they are a tenth of the work of a node's
# parent. The arguments are shown as the job's id, run and worker, never as its payload.
worker_send_task_events = False
task_send_sent_event = False
task_track_started = False

# Handlers print into their job's log, not into Celery's.
worker_redirect_stdouts = False
worker_hijack_root_logger = False
enable_utc = True
timezone = "UTC"
