"""Send mail through the operator's SMTP server, over TLS with a checked certificate.

The server's address is a setting of the operator, so the rules for addresses of users do not apply.
"""

from __future__ import annotations

import smtplib
import socket
import ssl
from collections.abc import Sequence
from email.message import EmailMessage
from urllib.parse import unquote, urlsplit

from ava.errors import OutboundFailed, OutboundTimeout
from ava.outbound.http import trusted_certificates
from ava.setting_values import mail_sender

_SUBMISSION_PORT = 587


class MailServer:
    """The server of one SMTP URL, which is valid. Each mail has its own connection."""

    def __init__(self, url: str, *, timeout_seconds: float) -> None:
        self._parts = urlsplit(url)
        self._timeout_seconds = timeout_seconds
        self.sender = mail_sender(url)

    def send(self, mail: EmailMessage, recipients: Sequence[str]) -> tuple[int, int]:
        """Send a mail to each recipient. Returns the server's code, and the number of recipients that it refused.

        Raises `OutboundTimeout` and `OutboundFailed`. The texts of the server stay here, because they name addresses.
        """
        try:
            with self._connect() as server:
                refused = server.send_message(mail, from_addr=self.sender, to_addrs=list(recipients))
        except smtplib.SMTPRecipientsRefused as error:
            return max(code for code, _ in error.recipients.values()), len(error.recipients)
        except smtplib.SMTPResponseException as error:
            return error.smtp_code, len(recipients)
        except TimeoutError:
            raise OutboundTimeout("The mail server did not respond in time.") from None
        except ssl.SSLCertVerificationError:
            raise OutboundFailed("The certificate of the mail server is not valid.") from None
        except (OSError, smtplib.SMTPException, ValueError) as error:
            raise OutboundFailed(f"The mail server could not be used: {type(error).__name__}.") from None
        return 250, len(refused)

    def _connect(self) -> smtplib.SMTP:
        host, context = self._parts.hostname or "", trusted_certificates()
        # The default looks the name up, and may wait for a resolver.
        own_name, seconds = socket.gethostname(), self._timeout_seconds
        if self._parts.scheme == "smtps":
            port = self._parts.port or smtplib.SMTP_SSL_PORT
            server: smtplib.SMTP = smtplib.SMTP_SSL(host, port, own_name, timeout=seconds, context=context)
        else:
            server = smtplib.SMTP(host, self._parts.port or _SUBMISSION_PORT, own_name, timeout=seconds)
        try:
            if self._parts.scheme == "smtp":
                # Raises an error if the server offers none: nothing is sent in plain.
                server.starttls(context=context)
            if self._parts.username and self._parts.password is not None:
                server.login(unquote(self._parts.username), unquote(self._parts.password))
        except BaseException:
            server.close()
            raise
        return server
