"""Celery's settings, those that are the same everywhere; `ava.broker.app` adds what depends on the environment.

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
# A run that is lost is taken back through the database, so its message is done with.
task_reject_on_worker_lost = False
task_acks_on_failure = True
task_acks_on_timeout = True

task_queue_max_priority = 10
task_default_priority = 5
task_create_missing_queues = True
# A message is a doorbell; writing it to the broker's disk would buy nothing.
task_default_delivery_mode = "transient"

# A node that comes back from a cut network finds its control queue again while RabbitMQ still waits for its connection
# of before; an exclusive queue would be locked, and the node would end. It goes by itself (control_queue_expires), and
# is durable in name alone, for RabbitMQ gives up queues that are neither.
control_queue_exclusive = False
control_queue_durable = True

broker_connection_retry_on_startup = True
broker_connection_retry = True
# None: try for ever. A broker may be away for hours.
broker_connection_max_retries = None
broker_connection_timeout = 3
broker_heartbeat = 20
# What runs when the broker goes away goes on: the database decides who holds a job.
worker_cancel_long_running_tasks_on_connection_loss = False
worker_enable_soft_shutdown_on_idle = False

# Celery's prefork pool, more attentive to children that die.
worker_pool = "ava.node.celery_internals.pool:JobPool"
# Celery's consumer, more impatient to reach the broker again.
worker_consumer = "ava.node.celery_internals.consumer:JobConsumer"

# Flower and `celery events` see what runs; argument texts are the job's id and run, never its payload.
worker_send_task_events = True
task_send_sent_event = False
task_track_started = False

# Handlers print into their job's log, not into Celery's.
worker_redirect_stdouts = False
worker_hijack_root_logger = False
enable_utc = True
timezone = "UTC"
