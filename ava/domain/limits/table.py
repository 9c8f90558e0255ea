"""The table of all limits on clients and tenants, for errors, the API and the docs.

A limit that operators can set is a field of `Settings`, which has its default. An error names its limit in the form of
`Limit.message`. One file, because it is read as one table: the site's page of limits is written from it.
"""

from __future__ import annotations

from ava.domain import approval
from ava.domain.events import pattern_rules, patterns
from ava.domain.jobs import waits
from ava.domain.limits.limit import Limit

_KIB, _MIB = 2**10, 2**20

# fmt: off
# The first line of a limit has its values, the next its meaning.
MCP_TOOLS = Limit(name="mcp_tools", unit="tools", status=None, fixed=100,
    meaning="Workers with their own MCP tool; `search_workers` and `run_worker` reach the others.")
MCP_TEXT = Limit(name="mcp_text", unit="characters", status=None, fixed=32_768,
    meaning="Characters of an output, a log or a record in an MCP result.")
MCP_LOG_LINES = Limit(name="mcp_log_lines", unit="lines", status=None, fixed=200,
    meaning="Lines of a log in an MCP result.")
MCP_LIMITS = (MCP_TOOLS, MCP_TEXT, MCP_LOG_LINES)


HEADER_FIELDS = Limit(name="header_fields", unit="fields", status=431, fixed=40,
    meaning="Fields of a request's headers.")
HEADER_FIELD_BYTES = Limit(name="header_field_bytes", unit="bytes", status=431, fixed=4 * _KIB,
    meaning="Bytes of one field of a request's headers.")
HEADER_SECONDS = Limit(name="header_seconds", unit="seconds", status=None, fixed=10,
    meaning="Seconds from a request's first byte to the end of its headers; then the connection is closed.")
CONNECTIONS = Limit(name="connections", unit="connections", status=None, fixed=3_500,
    meaning="Connections of an API process; a further one closes the connection that has been idle the longest.")
BODY_BYTES = Limit(name="body_bytes", unit="bytes", status=413, fixed=_MIB + 64 * _KIB,
    meaning="Bytes of a request's body: an input of 1 MiB and the other fields.")
BULK_BODY_BYTES = Limit(name="bulk_body_bytes", unit="bytes", status=413, fixed=16 * _MIB,
    meaning="Bytes of the body of a bulk trigger.")
PENDING_BODIES = Limit(name="pending_bodies", unit="bodies", status=429, fixed=500,
    meaning="Request bodies that an API process is still receiving, of all clients together.")
ADDRESS_PENDING_BODIES = Limit(name="address_pending_bodies", unit="bodies", status=429, fixed=400,
    meaning="Request bodies that an API process is still receiving from one address.")
TENANT_PENDING_BODIES = Limit(name="tenant_pending_bodies", unit="bodies", status=429, fixed=100,
    meaning="Request bodies that an API process is still receiving from one tenant.")
WEBHOOK_BODY_BYTES = Limit(name="webhook_body_bytes", unit="bytes", status=413, fixed=64 * _KIB,
    meaning="Bytes of a body that creates or changes a webhook.")
NESTING = Limit(name="nesting", unit="levels", status=400, fixed=500,
    meaning="Levels of nested arrays and objects in a body; an output that is nested deeper fails the job.")
BODY_PARTS = Limit(name="body_parts", unit="parts", status=413, fixed=200_000,
    meaning="Arrays, objects and fields of objects in a body.")
BODY_VALUES = Limit(name="body_values", unit="values", status=413, fixed=1_000_000,
    meaning="Values in a body, counted by its commas.")
LARGE_BODY_BYTES = Limit(name="large_body_bytes", unit="bytes", status=429, fixed=16 * _MIB,
    meaning="Bytes of a tenant's concurrent requests with bodies of more than 64 KiB in one API process; a request "
    "waits up to 10 s for its turn.")
_ERRORS = "Invalid fields that one error names; the check of a body stops there."
NAMED_ERRORS = Limit(name="named_errors", unit="errors", status=None, fixed=20, meaning=_ERRORS)
INPUT_BYTES = Limit(name="input_bytes", unit="bytes", status=413, fixed=waits.MAX_INPUT_BYTES,
    meaning="Bytes of a job's input, as compact JSON in UTF-8.")
BULK_JOBS = Limit(name="bulk_jobs", unit="jobs", status=422, fixed=1_000, meaning="Jobs that one call may trigger.")
RUNNING_OPERATIONS = Limit(name="running_operations", unit="operations", status=429, fixed=10,
    meaning="Running operations (bulk retry or cancel) of a tenant.")
SCHEDULES = Limit(name="schedules", unit="schedules", status=409, field="max_schedules",
    meaning="Schedules of a tenant.")
SCHEDULE_BODY_BYTES = Limit(name="schedule_body_bytes", unit="bytes", status=413, fixed=512 * _KIB,
    meaning="Bytes of a body that creates, changes or previews a schedule.")
SCHEDULE_INPUT_BYTES = Limit(name="schedule_input_bytes", unit="bytes", status=413, fixed=64 * _KIB,
    meaning="Bytes of a schedule's input, as compact JSON in UTF-8. A page of schedules is smaller than 8 MiB.")
RESPONSE_BYTES = Limit(name="response_bytes", unit="bytes", status=None, fixed=8 * _MIB,
    meaning="Bytes of a response: a page or log ends early, and a bulk omits further inputs and outputs.")
PAYLOAD_BYTES = Limit(name="payload_bytes", unit="bytes", status=None, fixed=16 * _KIB,
    meaning="Bytes of an input or output in a list of jobs; a larger one is null, unless `fields=*` requests it.")
TAGS = Limit(name="tags", unit="tags", status=422, fixed=10, meaning="Tags of a job.")
WEBHOOKS = Limit(name="webhooks", unit="webhooks", status=409, fixed=100,
    meaning="Webhooks of a tenant. Each event creates a delivery for each of them.")
NOTICES = Limit(name="notices", unit="notices", status=409, fixed=50, meaning="Notices of a tenant.")
NOTICE_RULES = Limit(name="notice_rules", unit="rules", status=422, fixed=20, meaning="Rules of a notice.")
NOTICE_RECIPIENTS = Limit(name="notice_recipients", unit="addresses", status=422, fixed=20,
    meaning="Mail addresses of a notice.")
NOTICE_MAILS = Limit(name="notice_mails", unit="mails", status=None, fixed=1_000,
    meaning="Mails of a tenant's notices a day (UTC), one for each address; later ones wait for the next day.")
API_KEYS = Limit(name="api_keys", unit="keys", status=409, fixed=200,
    meaning="API keys of a tenant, including expired keys.")
USER_SESSIONS = Limit(name="user_sessions", unit="sessions", status=None, fixed=50,
    meaning="Dashboard sessions of one user or API key, including its unused sign-in links; a new session ends the "
    "oldest.")
ERROR_GROUPS = Limit(name="error_groups", unit="groups", status=None, fixed=1_000,
    meaning="Error groups of a tenant; failed jobs with further errors are in one group per worker.")
ERROR_VARIANTS = Limit(name="error_variants", unit="messages", status=None, fixed=10,
    meaning="Different messages that an error group lists, without numbers and ids; it counts jobs with others.")
SERIES_ROWS = Limit(name="series_rows", unit="rows", status=None, fixed=100,
    meaning="Workers, backlogs and kinds of failures of a tenant with own points of charts in a minute or hour: the "
    "busiest.")
TENANT_QUEUED_JOBS = Limit(name="tenant_queued_jobs", unit="jobs", status=429, field="tenant_max_queued",
    meaning="Queued jobs of a tenant, including scheduled jobs; further triggers are refused, and firings are skipped.")
TENANT_STORED_BYTES = Limit(name="tenant_stored_bytes", unit="bytes", status=429, field="tenant_max_stored_bytes",
    meaning="Bytes of a tenant's jobs, log lines, events and deliveries, as PostgreSQL stores them, measured "
    "periodically; beyond the limit, triggers are refused and firings are skipped.")
TENANT_RUNNING_JOBS = Limit(name="tenant_running_jobs", unit="jobs", status=None, field="tenant_max_running",
    meaning="Running jobs of a tenant without its own limit; further jobs wait.")
MOST_URGENT_PRIORITY = Limit(name="most_urgent_priority", unit="priority", status=422,
    field="tenant_most_urgent_priority",
    meaning="The smallest priority number that the roles of a tenant may use; platform roles may use all.")
DAYS_AHEAD = Limit(name="days_ahead", unit="days", status=422, fixed=366,
    meaning="Days from now to a job's `scheduled_at`.")
RATE_LIMIT_READ = Limit(name="rate_limit_read", unit="requests", status=429, field="rate_limit_read",
    meaning="GET and PATCH requests of an API key, or of a tenant's callers without a key, in the setting's rolling "
    "period, such as a minute.")
RATE_LIMIT_WRITE = Limit(name="rate_limit_write", unit="requests", status=429, field="rate_limit_write",
    meaning="Likewise, requests with POST, PUT or DELETE.")
RATE_LIMIT_TENANT_KEYS = Limit(name="rate_limit_tenant_keys", unit="times", status=429, field="rate_limit_tenant_keys",
    meaning="The rates of all API keys of a tenant together, as a multiple of the rates of one key.")
RATE_LIMIT_WEBHOOKS = Limit(name="rate_limit_webhooks", unit="requests", status=429, field="rate_limit_webhooks",
    meaning="Requests that create webhooks, in the setting's rolling period.")

_ENTRIES = "Entries of a worker's configuration by one tenant, each of at most 8,192 characters."
WORKER_ENTRIES = Limit(name="worker_entries", unit="entries", status=422, fixed=100, meaning=_ENTRIES)
_SECRETS = (
    "Secrets of a worker by one tenant, each of at most 8,192 characters. The output, error and log lines of each "
    "job are searched for them."
)
WORKER_SECRETS = Limit(name="worker_secrets", unit="secrets", status=422, fixed=64, meaning=_SECRETS)
PAUSE_REASON = Limit(name="pause_reason", unit="characters", status=422, fixed=500,
    meaning="Characters of the reason of a pause.")
SEARCHED_JOBS = Limit(name="searched_jobs", unit="jobs", status=None, fixed=20_000,
    meaning="Jobs that one response scans for a filter or an order without an index; then the page ends, and its "
    "cursor continues it.")
SEARCHED_INPUT_BYTES = Limit(name="searched_input_bytes", unit="bytes", status=None, fixed=32 * 2**20,
    meaning="Bytes of inputs that one response searches for a value; then the page ends, and its cursor continues it.")
INPUT_FILTERS = Limit(name="input_filters", unit="places", status=422, fixed=5,
    meaning="Paths of an input that a filter of jobs compares.")
SEARCHED_LINES = Limit(name="searched_lines", unit="lines", status=None, fixed=100_000,
    meaning="Log lines that one response searches for a string; then the response ends, and its cursor continues it.")
TENANT_CONNECTIONS = Limit(name="tenant_connections", unit="percent", status=429, fixed=75,
    meaning="Database connections that the requests of one tenant use in each API process, of its "
    "`AVA_API_CONNECTIONS`; a request waits up to 8 s for its turn.")
LARGE_REQUESTS = Limit(name="large_requests", unit="large request", status=429, fixed=1,
    meaning="Requests of one tenant with bodies of more than 64 KiB that are being checked, parsed or stored, in each "
    "API process; a request waits up to 10 s for its turn.")
RESPONSES_IN_FLIGHT_BYTES = Limit(name="responses_in_flight_bytes", unit="bytes", status=429, fixed=32 * _MIB,
    meaning="Bytes of a tenant's responses of more than 64 KiB that are being sent, in each API process.")
TENANT_STREAMS = Limit(name="tenant_streams", unit="streams", status=429, field="tenant_max_streams",
    meaning="Concurrent streams of one tenant, in each API process.")
TENANT_WAITS = Limit(name="tenant_waits", unit="waits", status=429, field="tenant_max_waits",
    meaning="Concurrent requests with `wait` of one tenant, in each API process.")
WATCHERS = Limit(name="watchers", unit="watchers", status=429, fixed=3_000,
    meaning="Concurrent streams and waits of all tenants, in each API process.")
STREAM_BUFFER_BYTES = Limit(name="stream_buffer_bytes", unit="bytes", status=None, fixed=64 * _KIB,
    meaning="Bytes of updates that a stream buffers for a slow client; a client that reads nothing for 30 s is "
    "disconnected.")

PULL_WORKERS = Limit(name="pull_workers", unit="workers", status=409, fixed=200,
    meaning="Workers that a tenant has created.")
WORKERS_PER_KEY = Limit(name="workers_per_key", unit="workers", status=422, fixed=100,
    meaning="Workers that an API key of the role worker, or one claim, may name.")
WAITING_CLAIMS = Limit(name="waiting_claims", unit="claims", status=429, fixed=1_000,
    meaning="Claims of one tenant's keys that are waiting for a run, in each API process.")
RUNS_PER_CLAIM = Limit(name="runs_per_claim", unit="runs", status=422, fixed=100,
    meaning="Runs that one claim requests (`capacity`).")
RUNS_HELD = Limit(name="runs_held", unit="runs", status=None, fixed=1_000,
    meaning="Unfinished runs that an API key has claimed; a further claim gets none.")
RUNS_PER_HEARTBEAT = Limit(name="runs_per_heartbeat", unit="runs", status=422, fixed=1_000,
    meaning="Runs that one heartbeat names.")
RUN_LINES = Limit(name="run_lines", unit="lines", status=422, fixed=1_000_000,
    meaning="Log lines of a pulled run: the `seq` of a line is smaller.")
ACTIVE_CONTAINMENTS = Limit(name="active_containments", unit="containments", status=409, fixed=20,
    meaning="Active containments of a tenant, or of all tenants together.")
RUN_LINES_PER_CALL = Limit(name="run_lines_per_call", unit="lines", status=422, fixed=1_000,
    meaning="Log lines that one call appends.")
OUTPUT_BYTES = Limit(name="output_bytes", unit="bytes", status=413, fixed=waits.MAX_OUTPUT_BYTES,
    meaning="Bytes of the output of a pulled run, as JSON.")
RUN_LOG_BYTES = Limit(name="run_log_bytes", unit="bytes", status=413, fixed=64 * _MIB,
    meaning="Bytes of the log lines of a pulled run; later lines are refused, and the run continues.")
RATE_LIMIT_RUNS = Limit(name="rate_limit_runs", unit="requests", status=429, field="rate_limit_runs",
    meaning="Claims of an API key and calls of the runs that it has claimed, in the setting's rolling period; "
    "heartbeats are counted separately, in each API process.")

WAITING_JOBS = Limit(name="waiting_jobs", unit="jobs", status=429, field="tenant_max_waiting",
    meaning="Jobs of a tenant that wait for other jobs, an event or a time. Beyond the limit, a bulk entry with "
    "`after` is refused, and so is a handler's wait (`ava.TooManyWaiting`).")
GRAPH_EDGES = Limit(name="graph_edges", unit="edges", status=422, fixed=10_000,
    meaning="Names in the `after` lists of all entries of a bulk together.")
REFERENCED_BYTES = Limit(name="referenced_bytes", unit="bytes", status=None, fixed=32 * _MIB,
    meaning="Bytes of the outputs to which the `$output` references of one input refer, each output counted once; "
    "beyond the limit the job fails with `InputTooLarge`.")
TREE_JOBS = Limit(name="tree_jobs", unit="jobs", status=422, fixed=10_000,
    meaning="Jobs below the root of a tree; the handler's call for a further child fails.")
TREE_DEPTH = Limit(name="tree_depth", unit="jobs", status=422, fixed=32,
    meaning="Levels of a tree; the handler's call for a deeper child fails.")
DEADLINE_SECONDS = Limit(name="deadline_seconds", unit="seconds", status=422, fixed=366 * 86_400,
    meaning="Seconds from a job's creation, or from its `scheduled_at`, to its deadline: a year.")
STEPS = Limit(name="steps", unit="steps", status=422, fixed=waits.MAX_STEPS,
    meaning="Steps of a job, and events and decisions that it waits for; `env.step`, `env.wait_event` and "
    "`env.approve` refuse further ones.")
STEP_BYTES = Limit(name="step_bytes", unit="bytes", status=413, fixed=waits.MAX_STEP_BYTES,
    meaning="Bytes of the result of a step, as JSON.")
ALL_STEPS_BYTES = Limit(name="all_steps_bytes", unit="bytes", status=422, fixed=waits.MAX_ALL_STEPS_BYTES,
    meaning="Bytes of the results of all steps of a job, and of the events that it received.")
CHILDREN_PER_CALL = Limit(name="children_per_call", unit="jobs", status=422, fixed=1_000,
    meaning="Children that one call of a run over HTTP creates.")
OUTPUTS_PER_CALL = Limit(name="outputs_per_call", unit="jobs", status=422, fixed=1_000,
    meaning="Outputs of children that a run over HTTP reads in one call.")
APPROVAL_BYTES = Limit(name="approval_bytes", unit="bytes", status=413, fixed=approval.MAX_CONTENT_BYTES,
    meaning="Bytes of an approval's payload, of its schema, and of the answer, as JSON.")
WAITS_PER_CALL = Limit(name="waits_per_call", unit="waits", status=422, fixed=100,
    meaning="Waits that end one run over HTTP.")
#: The limits of a job's journal.
JOURNAL_LIMITS = (STEPS, STEP_BYTES, ALL_STEPS_BYTES, APPROVAL_BYTES)

HOOKS = Limit(name="hooks", unit="hooks", status=409, fixed=1_000, meaning="Hooks of a tenant.")
HOOK_BODY_BYTES = Limit(name="hook_body_bytes", unit="bytes", status=413, fixed=_MIB,
    meaning="Bytes of the body of a request to a hook, before and after decompression.")
SUBSCRIPTIONS = Limit(name="subscriptions", unit="subscriptions", status=409, fixed=10_000,
    meaning="Subscriptions of a tenant.")
SUBSCRIPTION_BODY_BYTES = Limit(name="subscription_body_bytes", unit="bytes", status=413, fixed=64 * _KIB,
    meaning="Bytes of a body that creates or changes a hook or a subscription, with its pattern and its template.")
PATTERN_LEVELS = Limit(name="pattern_levels", unit="levels", status=422, fixed=patterns.MAX_LEVELS,
    meaning="Levels of nested objects in a pattern, and of nested lists and objects in a template.")
PATTERN_RULES = Limit(name="pattern_rules", unit="rules", status=422, fixed=pattern_rules.MAX_RULES,
    meaning="Values and rules of a pattern, and placeholders of a template.")
PATTERN_COMPARISONS = Limit(name="pattern_comparisons", unit="comparisons", status=422, fixed=patterns.MAX_COMPARISONS,
    meaning="Comparisons of one pattern with one event: the fields of the pattern, and its rules times the values in "
    "the lists of the event. A field with many values, prefixes or suffixes costs little more than a field with one. "
    "Beyond the limit, `refused` names the subscription, a hook refuses the delivery, and a handler's wait continues.")
EVENT_COMPARISONS = Limit(name="event_comparisons", unit="comparisons", status=422, fixed=1_000_000,
    meaning="Comparisons of all events of one request with all subscriptions of the tenant.")
EVENT_WAIT_COMPARISONS = Limit(name="event_wait_comparisons", unit="comparisons", status=None, fixed=100_000,
    meaning="Comparisons of events of one type with the waits of handlers in one transaction of the dispatcher, for at "
    "most 0.1 s. The other waits follow, in turn with other tenants. A wait with an exact field costs one comparison "
    "for each event with its value.")
BULK_EVENTS = Limit(name="bulk_events", unit="events", status=422, fixed=1_000,
    meaning="Events that one call may send.")
EVENT_JOBS = Limit(name="event_jobs", unit="jobs", status=None, fixed=100,
    meaning="Jobs that the events of one request create in its transaction, with inputs of at most 4 MiB together; "
    "further ones are created within 5 s.")
EVENT_COPIED_BYTES = Limit(name="event_copied_bytes", unit="bytes", status=None, fixed=32 * _MIB,
    meaning="Bytes of the inputs of all jobs of one event together. Older subscriptions come first; `refused` names "
    "the others.")
REPLAYED_DELIVERIES = Limit(name="replayed_deliveries", unit="deliveries", status=422, fixed=1_000,
    meaning="Deliveries of a hook that one call replays, with bodies of at most 64 MiB together.")
REFUSED_BYTES = Limit(name="refused_delivery_bytes", unit="bytes", status=None, fixed=16 * _KIB,
    meaning="Bytes that are stored of the body of a delivery whose sender gets an error, and of its headers; a longer "
    "delivery cannot be replayed.")
RATE_LIMIT_HOOK = Limit(name="rate_limit_hook", unit="requests", status=429, field="rate_limit_hook",
    meaning="Requests to one hook in the setting's rolling period, in each API process.")
RATE_LIMIT_ADDRESS = Limit(name="rate_limit_address", unit="requests", status=429, field="rate_limit_address",
    meaning="Requests of one address to hooks without a valid token or signature, and heartbeats of unknown runs, in "
    "the setting's rolling period. For IPv6 a network of 64 bits counts as one address.")

#: All limits, in the order of the API and the docs. Add new limits here.
LIMITS: tuple[Limit, ...] = (
    HEADER_FIELDS, HEADER_FIELD_BYTES, HEADER_SECONDS, CONNECTIONS, BODY_BYTES, BULK_BODY_BYTES, WEBHOOK_BODY_BYTES,
    NESTING, BODY_PARTS, BODY_VALUES, PENDING_BODIES, ADDRESS_PENDING_BODIES, TENANT_PENDING_BODIES, LARGE_BODY_BYTES,
    LARGE_REQUESTS, NAMED_ERRORS, INPUT_BYTES, BULK_JOBS, TAGS, RUNNING_OPERATIONS, ACTIVE_CONTAINMENTS, RESPONSE_BYTES,
    PAYLOAD_BYTES, SEARCHED_JOBS, SEARCHED_INPUT_BYTES, INPUT_FILTERS, SEARCHED_LINES, TENANT_CONNECTIONS,
    RESPONSES_IN_FLIGHT_BYTES, TENANT_STREAMS, TENANT_WAITS, WATCHERS, STREAM_BUFFER_BYTES, TENANT_QUEUED_JOBS,
    WAITING_JOBS, GRAPH_EDGES, REFERENCED_BYTES, TREE_JOBS, TREE_DEPTH, DEADLINE_SECONDS, *JOURNAL_LIMITS,
    TENANT_STORED_BYTES, TENANT_RUNNING_JOBS, MOST_URGENT_PRIORITY, DAYS_AHEAD, RATE_LIMIT_READ, RATE_LIMIT_WRITE,
    RATE_LIMIT_WEBHOOKS, RATE_LIMIT_RUNS, RATE_LIMIT_TENANT_KEYS, RATE_LIMIT_HOOK, RATE_LIMIT_ADDRESS, SCHEDULES,
    SCHEDULE_BODY_BYTES, SCHEDULE_INPUT_BYTES, WEBHOOKS, NOTICES, NOTICE_RULES, NOTICE_RECIPIENTS, NOTICE_MAILS, HOOKS,
    HOOK_BODY_BYTES, SUBSCRIPTIONS, SUBSCRIPTION_BODY_BYTES, PATTERN_LEVELS, PATTERN_RULES, PATTERN_COMPARISONS,
    EVENT_COMPARISONS, EVENT_WAIT_COMPARISONS, BULK_EVENTS, EVENT_JOBS, EVENT_COPIED_BYTES, REPLAYED_DELIVERIES,
    REFUSED_BYTES, API_KEYS, USER_SESSIONS, ERROR_GROUPS, ERROR_VARIANTS, SERIES_ROWS, WORKER_ENTRIES, WORKER_SECRETS,
    PAUSE_REASON, PULL_WORKERS, WORKERS_PER_KEY, WAITING_CLAIMS, RUNS_PER_CLAIM, RUNS_HELD, RUNS_PER_HEARTBEAT,
    RUN_LINES, RUN_LINES_PER_CALL, OUTPUT_BYTES, RUN_LOG_BYTES, *MCP_LIMITS,
)
