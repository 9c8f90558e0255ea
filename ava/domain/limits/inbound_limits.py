"""The limits of hooks, subscriptions and events. `ava.domain.limits.table` lists them with the others."""

from __future__ import annotations

from ava.domain.events import pattern_rules, patterns
from ava.domain.limits.limit import Limit

_KIB, _MIB = 2**10, 2**20

# fmt: off
# The first line of a limit has its values, the next its meaning.
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
