"""kombu's RabbitMQ transport, fixed to verify the host name of each server in BROKER_URL.

kombu puts the first server's name into TLS options that all connections share.
"""

from __future__ import annotations

from typing import Any

from kombu.transport.pyamqp import Transport


class NamedTransport(Transport):  # type: ignore[misc]  # kombu has no annotations
    def establish_connection(self) -> Any:
        # None stands for the server's name. kombu would fill it in only after replacing `localhost` with an address.
        if isinstance(self.client.ssl, dict) and self.client.ssl.get("server_hostname", "") is None:
            self.client.ssl = {**self.client.ssl, "server_hostname": self.client.hostname}
        return super().establish_connection()
