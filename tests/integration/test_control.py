"""Remote control messages while the broker is out of reach."""

from __future__ import annotations

import time
import uuid

import pytest

from ava import settings as settings_module
from ava.broker.celery_app import make_app
from ava.broker.control import Control
from ava.domain.jobs.job import RunKey
from ava.errors import BrokerUnavailable
from harness.busy import busy_factor
from harness.servers.server import Server
from tests.conftest import UNREACHABLE_DATABASE


@pytest.mark.redis
def test_a_message_on_a_connection_of_before_an_outage_does_not_wait_for_its_end(private_redis: Server) -> None:
    app = make_app(settings_module.load({"DATABASE_URL": UNREACHABLE_DATABASE, "BROKER_URL": private_redis.url}))
    control = Control(app)
    runs = [RunKey("ten_test", str(uuid.uuid4()), 1)]
    control.revoke_all(runs=runs, node_name="ava@node")
    control.release_runs(runs=runs, node_name="ava@node")
    private_redis.kill()
    began = time.monotonic()
    with pytest.raises(BrokerUnavailable):
        control.revoke_all(runs=runs, node_name="ava@node")
    with pytest.raises(BrokerUnavailable):
        control.release_runs(runs=runs, node_name="ava@node")
    assert time.monotonic() - began < 5 * busy_factor()
    private_redis.start()
    control.revoke_all(runs=runs, node_name="ava@node")
    app.close()
