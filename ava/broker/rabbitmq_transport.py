"""kombu's RabbitMQ transport, which here verifies the name of each server of BROKER_URL.

kombu's own stores the name of the first server in the options of TLS, which the connections to all others share.
"""

from __future__ import annotations

from typing import Any

from kombu.transport.pyamqp import Transport


class NamedTransport(Transport):  # type: ignore[misc]  # kombu has no annotations
    """A transport whose options of TLS belong to one connection."""

    def establish_connection(self) -> Any:
        """Returns an open connection to the server that the client names now."""
        # None stands for the server's name. kombu would take it after it has replaced `localhost` by an address.
        if isinstance(self.client.ssl, dict) and self.client.ssl.get("server_hostname", "") is None:
            self.client.ssl = {**self.client.ssl, "server_hostname": self.client.hostname}
        return super().establish_connection()
