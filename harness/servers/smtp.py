"""A mail server that keeps each mail, in plain TCP: TLS is in front of it (`harness.servers.tls`)."""

from __future__ import annotations

import email
import email.policy
import socketserver
import threading
from collections.abc import Callable
from dataclasses import dataclass
from email.message import EmailMessage
from typing import cast


@dataclass(frozen=True)
class ReceivedMail:
    """One mail."""

    recipients: list[str]
    message: EmailMessage


class _Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True


class MailReceiver:
    """Responds to `RCPT` with the code of `reply`, and accepts everything else."""

    def __init__(self, reply: Callable[[str], int] = lambda _: 250) -> None:
        self.reply = reply
        self.mails: list[ReceivedMail] = []
        receiver = self

        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                receiver._serve(self)

        self._server = _Server(("127.0.0.1", 0), Handler)
        self.port: int = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def _serve(self, handler: socketserver.StreamRequestHandler) -> None:
        recipients: list[str] = []

        def say(line: str) -> None:
            handler.wfile.write(f"{line}\r\n".encode())

        say("220 mail")
        while line := handler.rfile.readline().decode().strip():
            verb, _, rest = line.partition(" ")
            if verb.upper() == "RCPT":
                address = rest.partition("<")[2].partition(">")[0]
                code = self.reply(address)
                recipients += [address] if code == 250 else []
                say(f"{code} recipient {address}")
            elif verb.upper() == "DATA":
                say("354 go on")
                content = b"".join(iter(handler.rfile.readline, b".\r\n"))
                message = cast(EmailMessage, email.message_from_bytes(content, policy=email.policy.default))
                self.mails.append(ReceivedMail(recipients, message))
                recipients = []
                say("250 taken")
            elif verb.upper() == "QUIT":
                say("221 bye")
                return
            else:
                say("250 ok")

    def close(self) -> None:
        """Stop the server."""
        self._server.shutdown()
        self._server.server_close()
