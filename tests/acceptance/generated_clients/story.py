"""A trigger, a wait, an error, and a value that a newer server added, with the client of openapi-python-client."""

import json
import os
import sys

from ava_jobs_client import AuthenticatedClient
from ava_jobs_client.api.jobs import show_job, trigger_job
from ava_jobs_client.models import Error, ShowJobResponse200, TriggerBody, TriggerBodyInput, TriggerJobResponse201

jobs = AuthenticatedClient(os.environ["AVA_URL"], token=os.environ["AVA_API_KEY"], timeout=60)
newer = AuthenticatedClient(os.environ["NEWER_URL"], token="none")

triggered = trigger_job.sync(
    client=jobs, body=TriggerBody("wkr_sleep", input_=TriggerBodyInput.from_dict({"seconds": 0}))
)
assert isinstance(triggered, TriggerJobResponse201)
waited = show_job.sync(triggered.data.id, client=jobs, wait=30)
assert isinstance(waited, ShowJobResponse200)
refused = trigger_job.sync_detailed(client=jobs, body=TriggerBody("wkr_unknown"))
assert isinstance(refused.parsed, Error)
unknown = show_job.sync(triggered.data.id, client=newer)
assert isinstance(unknown, ShowJobResponse200)
found = {
    "triggered": triggered.data.status,
    "waited": [waited.data.status, waited.data.output],
    "refused": [refused.status_code, refused.parsed.error.code],
    "unknown": [unknown.data.status, unknown.data.trigger],
}
json.dump(found, sys.stdout)
