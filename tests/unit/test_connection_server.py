"""Accepting connections of the API; a process of its own, because it runs gevent."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import gevent, socket
from gevent.pool import Pool
from ava.api.server.connection_server import ConnectionServer

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

FIRST = """
import gevent, socket
from gevent.pool import Pool
from gevent.socket import wait_read
from ava.api.server.connection_server import ConnectionServer

order = []
def serve(client, address):
    order.append(client.recv(3).decode())
    gevent.sleep(0)
    order.append("response")

def go_on(sock):
    wait_read(sock.fileno())
    order.append("earlier")

listener = socket.create_server(("127.0.0.1", 0))
listener.setblocking(False)
server = ConnectionServer(listener, handle=serve, spawn=Pool(100))
server.start()
pairs = [socket.socketpair() for _ in range(10)]
greenlets = [gevent.spawn(go_on, ours) for ours, _ in pairs]
gevent.sleep(0.01)
client = socket.create_connection(server.address)
client.sendall(b"GET")
for _, theirs in pairs:
    theirs.sendall(b"x")
gevent.joinall(greenlets, timeout=5)
print(order[0], order.count("earlier"))
gevent.sleep(0.01)
print(order[-1], len(order), len(server.pool))
"""


def test_a_new_connection_is_served_before_the_loop_goes_on_with_earlier_ones() -> None:
    done = subprocess.run([sys.executable, "-c", FIRST], capture_output=True, text=True, timeout=60, check=False)
    first, last = done.stdout.splitlines()
    assert (first, done.stderr) == ("GET 10", "")
    assert last.endswith(" 12 0")


def test_silent_and_closed_connections_count_as_no_request() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout.splitlines() == ["b'GET' 20 None", "20 20", "None 1"], done.stderr
