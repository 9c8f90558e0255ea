"""Clients that read at a steady rate, in addition to a load, and count failures."""

from __future__ import annotations

import threading
import time
from collections import Counter

import requests

from harness.system import HEADERS

_CLIENTS = 16
_PATHS = ("/v1/ava/jobs?per_page=10", "/v1/ava/queues", "/v1/ava/workers", "/v1/ava/jobs?filter[status]=running")


class Readers:
    """Clients that each read one page after the other over a persistent connection."""

    def __init__(self, url: str, *, per_second: float) -> None:
        self._url = url
        self._pause = _CLIENTS / per_second
        self._has_ended = threading.Event()
        self._lock = threading.Lock()
        #: Number of responses by status, or by the name of an error.
        self.answers: Counter[str] = Counter()
        self._threads = [threading.Thread(target=self._read, daemon=True) for _ in range(_CLIENTS)]
        self._began = 0.0
        #: Responses per second, set when they have stopped.
        self.rate = 0.0

    def start(self) -> None:
        """Begin."""
        self._began = time.monotonic()
        for thread in self._threads:
            thread.start()

    def move(self, url: str) -> None:
        """Send further requests to this URL, like a load balancer."""
        self._url = url

    def stop(self) -> None:
        """End, and compute the rate."""
        self._has_ended.set()
        for thread in self._threads:
            thread.join(60)
        self.rate = self.answers.total() / (time.monotonic() - self._began)

    @property
    def refused(self) -> list[str]:
        """Return each result other than 200, with its number."""
        return [f"{count} × {what}" for what, count in sorted(self.answers.items()) if what != "200"]

    def _read(self) -> None:
        following = time.monotonic()
        with requests.Session() as session:
            session.headers.update(HEADERS)
            for number in range(2**31):
                if self._has_ended.wait(max(0.0, following - time.monotonic())):
                    return
                following = max(following + self._pause, time.monotonic() - 1)
                response = self._answer(session, _PATHS[number % len(_PATHS)])
                with self._lock:
                    self.answers[response] += 1

    def _answer(self, session: requests.Session, path: str) -> str:
        try:
            return str(session.get(self._url + path, timeout=30).status_code)
        except requests.RequestException as error:
            return type(error).__name__
