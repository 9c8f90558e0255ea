"""Large responses are compressed outside the event loop; a process of its own, because it is patched."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
from gevent import monkey
monkey.patch_all()
import gzip
import threading

import gevent
from flask import Flask, Response

from ava.api.http import offload, responses
from ava.settings import load

app = Flask(__name__)
responses.install_hooks(app, load({"DATABASE_URL": "postgresql://localhost/x", "BROKER_URL": "redis://localhost/0",
                                  "AVA_INTERNAL_SECRET": "of-all-the-tests"}))

@app.get("/<int:size>")
def show(size):
    return Response(b"x" * size)

ticks = 0
def tick():
    global ticks
    while True:
        # A loop that never waits may keep the interpreter lock from other threads for as long as it likes.
        gevent.sleep(0.001)
        ticks += 1

loop_thread = threading.get_native_id()
compress = gzip.compress
where = []

def compress_elsewhere(raw, *rest, **named):
    is_elsewhere = threading.get_native_id() != loop_thread
    where.append(is_elsewhere)
    # It ends only because the event loop goes on meanwhile.
    seen = ticks
    while is_elsewhere and ticks < seen + 3:
        pass
    return compress(raw, *rest, **named)

gzip.compress = compress_elsewhere
gevent.spawn(tick)
for size in (offload.LARGE_BYTES + 1, offload.LARGE_BYTES):
    response = app.test_client().get(f"/{size}", headers={"Accept-Encoding": "gzip"})
    assert response.headers["Content-Encoding"] == "gzip"
    assert gzip.decompress(response.data) == b"x" * size
print(where)
"""


def test_a_large_response_is_compressed_in_a_thread_while_other_greenlets_run() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=60, check=False)
    # A small one is compressed where it arises.
    assert (done.stdout, done.stderr) == ("[True, False]\n", "")
