"""A broker that goes silent, with its connections open: nodes finish what they run, and go on when it answers again."""

from __future__ import annotations

import time
from urllib.parse import urlsplit

from chaos.proxy import Proxy
from harness.system import System

#: Seconds for which the broker is silent, three times AVA_DEAF_SECONDS.
SILENT_SECONDS = 18


def test_a_job_finishes_while_the_broker_is_silent(system: System) -> None:
    environ = {"AVA_HANDLERS": "workers,tests.acceptance.handlers", "AVA_DEAF_SECONDS": "6", "AVA_DRAIN_SECONDS": "1"}
    system.start(workers=0, environ=environ)
    server = urlsplit(system.broker_url)
    assert server.hostname
    assert server.port
    proxy = Proxy(server.hostname, server.port)
    proxied = server._replace(netloc=server.netloc.replace(f":{server.port}", f":{proxy.port}")).geturl()
    try:
        node = system.spawn("worker", "-c", "2", environ={"BROKER_URL": proxied})
        system.workers.append(node)
        system.await_workers()
        job = system.trigger("wkr_t_work", input={"seconds": SILENT_SECONDS - 5})
        system.wait_for(job["id"], "running")
        proxy.cut()
        silent_since = time.monotonic()
        record = system.wait_for(job["id"], seconds=SILENT_SECONDS + 40)
        assert (record["status"], record["attempt"]) == ("completed", 1), node.output[-6000:]
        time.sleep(max(0, SILENT_SECONDS - (time.monotonic() - silent_since)))
        proxy.heal()
        assert node.exit_code is None, node.output[-6000:]
        assert "stands still" not in node.output
        after = system.trigger("wkr_t_nothing")
        assert system.wait_for(after["id"], seconds=30)["status"] == "completed"
        assert system.query("SELECT max(losses), max(run_no) FROM jobs") == [(0, 1)]
    finally:
        proxy.heal()
        system.stop()
        proxy.close()
