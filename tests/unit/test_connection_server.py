"""Accepting connections of the API; a process of its own, because it runs gevent."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import gevent, socket
from gevent.pool import Pool
from ava.api.connection_server import ConnectionServer

listener = socket.create_server(("127.0.0.1", 0), backlog=100)
place = listener.getsockname()
silent = [socket.create_connection(place) for _ in range(20)]
for _ in range(20):
    socket.create_connection(place).close()
sender = socket.create_connection(place)
sender.sendall(b"GET")

served = []
def serve(client, address):
    served.append(client.recv(3))

listener.setblocking(False)
server = ConnectionServer(listener, handle=serve, spawn=Pool(100))
server.init_socket()
client, _ = server.do_read()
# The silent ones are served too, and those that are closed are not.
print(client.recv(3), len(server.pool), server.do_read())
for each in silent:
    each.sendall(b"PUT")
gevent.wait(timeout=5)
print(served.count(b"PUT"), len(served))

# What has no room stays in the kernel.
server.pool.size = 1
silent = [socket.create_connection(place) for _ in range(2)]
print(server.do_read(), len(server.pool))
"""


def test_silent_and_closed_connections_take_no_place_among_requests() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout.splitlines() == ["b'GET' 20 None", "20 20", "None 1"], done.stderr
