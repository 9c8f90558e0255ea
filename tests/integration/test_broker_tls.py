"""Each connection to the broker verifies the broker's certificate, unless BROKER_URL says that it does not."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from ava.broker import connectivity, queues
from ava.broker.broker_url import tls_options
from ava.broker.celery_app import make_app
from ava.broker.publisher import Publisher
from ava.errors import BrokerUnavailable, SettingsError, StartError
from ava.settings import Settings
from harness.api import Api
from harness.polling import wait_until
from harness.servers.tls import Authority, TlsFront, tls_in_front_of
from harness.system import System

on_redis = pytest.mark.parametrize("broker_url", ["redis"], indirect=True)

AUTHORITY = Authority("AVA test authority")
STRANGER = Authority("A stranger")


@contextmanager
def _front(broker_url: str, certificate: str, folder: Path) -> Iterator[tuple[TlsFront, str]]:
    """TLS in front of a broker, and its URL as clients name it."""
    url = urlsplit(broker_url)
    assert url.port
    with tls_in_front_of(url.port, certificate, folder) as front:
        at = url.netloc.rpartition("@")[0]
        secure = url._replace(
            scheme={"redis": "rediss", "amqp": "amqps"}[url.scheme], netloc=f"{at}@localhost:{front.port}"
        )
        yield front, secure.geturl()


@pytest.fixture
def authority(tmp_path: Path) -> str:
    path = tmp_path / "ca.pem"
    path.write_text(AUTHORITY.certificate)
    return str(path)


def _uses_it_all(settings: Settings) -> None:
    connectivity.require(settings)
    queues.try_out(settings)
    assert connectivity.ping(make_app(settings))


def test_a_certificate_of_the_authority_that_is_named_passes(
    database_settings: Settings, broker_url: str, authority: str, tmp_path: Path
) -> None:
    with _front(broker_url, AUTHORITY.issue("localhost"), tmp_path) as (_, url):
        settings = replace(database_settings, broker_url=url, broker_ca=authority)
        _uses_it_all(settings)
        with closing(Publisher(make_app(settings), settings)) as publisher:
            assert publisher.was_reset()
        _uses_it_all(replace(database_settings, broker_url=f"{url}?ssl_ca_certs={authority}"))


# A client library leaves the socket of a refused handshake to the garbage collector if the peer has closed it already.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning", "ignore:unclosed <ssl:ResourceWarning")
@pytest.mark.parametrize(
    ("certificate", "reason"),
    [
        (STRANGER.issue("localhost"), "unable to get local issuer certificate"),
        (AUTHORITY.issue("broker.example.com"), "Hostname mismatch"),
        (AUTHORITY.issue("localhost", days=-1), "certificate has expired"),
    ],
    ids=["stranger", "other name", "expired"],
)
def test_any_other_certificate_is_refused_before_the_password_is_sent(
    database_settings: Settings, broker_url: str, authority: str, tmp_path: Path, certificate: str, reason: str
) -> None:
    with _front(broker_url, certificate, tmp_path) as (front, url):
        settings = replace(database_settings, broker_url=url, broker_ca=authority)
        with pytest.raises(StartError, match=f"^BROKER_URL: the broker cannot be reached: .*{reason}.*$"):
            connectivity.require(settings)
        with pytest.raises(StartError, match=f"{reason}"):
            queues.try_out(settings)
        app = make_app(settings)
        assert not connectivity.ping(app)
        with closing(Publisher(app, settings)) as publisher, pytest.raises(BrokerUnavailable):
            publisher.was_reset()
        assert front.received == 0
        _uses_it_all(replace(settings, broker_url=f"{url}?ssl_cert_reqs=none"))


def test_without_an_authority_of_its_own_a_private_one_is_unknown(
    database_settings: Settings, broker_url: str, tmp_path: Path
) -> None:
    with _front(broker_url, AUTHORITY.issue("localhost"), tmp_path) as (front, url):
        with pytest.raises(StartError, match="its certificate was refused"):
            connectivity.require(replace(database_settings, broker_url=url))
        assert front.received == 0


def test_a_name_may_go_unchecked(database_settings: Settings, broker_url: str, authority: str, tmp_path: Path) -> None:
    with _front(broker_url, AUTHORITY.issue("broker.example.com"), tmp_path) as (_, url):
        settings = replace(database_settings, broker_url=f"{url}?ssl_check_hostname=false", broker_ca=authority)
        connectivity.require(settings)


@pytest.mark.parametrize("query", ["ssl_cert_reqs=optional", "ssl_cert_reqs=", "ssl_nothing=1", "ssl_check_hostname=2"])
def test_an_unknown_option_is_refused(database_settings: Settings, query: str) -> None:
    for scheme in ("rediss", "amqps"):
        with pytest.raises(SettingsError, match="ssl_ca_certs"):
            tls_options(replace(database_settings, broker_url=f"{scheme}://localhost/?{query}"))


def _counts_of_two_processes(settings: Settings) -> list[int]:
    """Returns the statuses of four requests, to two applications in turns, of which a tenant may make two."""
    limited = replace(settings, rate_limit_read="2/minute")
    with Api.running(limited, workers=False) as one, Api.running(limited, workers=False) as other:
        return [api.get("/v1/ava/jobs").status_code for api in (one, other, one, other)]


@on_redis
def test_rates_are_counted_in_a_broker_whose_certificate_passes(
    database_settings: Settings, broker_url: str, authority: str, tmp_path: Path
) -> None:
    with _front(broker_url, AUTHORITY.issue("localhost"), tmp_path) as (front, url):
        settings = replace(database_settings, broker_url=url, broker_ca=authority)
        assert _counts_of_two_processes(settings) == [200, 200, 429, 429]
        assert front.received > 0


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning", "ignore:unclosed <ssl:ResourceWarning")
@pytest.mark.parametrize(
    ("certificate", "is_named"),
    [
        (STRANGER.issue("localhost"), True),
        (AUTHORITY.issue("broker.example.com"), True),
        (AUTHORITY.issue("localhost"), False),
    ],
    ids=["stranger", "other name", "unknown authority"],
)
@on_redis
def test_rates_send_no_password_to_a_broker_with_any_other_certificate(
    database_settings: Settings, broker_url: str, authority: str, tmp_path: Path, certificate: str, is_named: bool
) -> None:
    with _front(broker_url, certificate, tmp_path) as (front, url):
        settings = replace(database_settings, broker_url=url, broker_ca=authority if is_named else "")
        # The API goes on, and each process counts for itself.
        assert _counts_of_two_processes(settings) == [200, 200, 200, 200]
        assert front.received == 0


def test_a_node_and_doctor_say_in_one_line_why_they_refuse_the_broker(
    system: System, authority: str, tmp_path: Path
) -> None:
    with _front(system.broker_url, STRANGER.issue("localhost"), tmp_path) as (front, url):
        environ = {"BROKER_URL": url, "AVA_BROKER_CA": authority}
        doctor = system.spawn("doctor", environ=environ)
        node = system.spawn("worker", "-c", "1", environ=environ)
        assert doctor.wait(30) == 1
        (line,) = [line for line in doctor.output.splitlines() if line.startswith("!!  broker")]
        assert "its certificate was refused: unable to get local issuer certificate" in line
        wait_until(lambda: "its certificate was refused" in node.output, what=lambda: node.output)
        assert node.exit_code is None
        assert "Traceback" not in node.output
        assert front.received == 0
