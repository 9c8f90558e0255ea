"""Settings come from the environment alone; a wrong value is refused by the name of its variable."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from ava import setting_values, settings
from ava.cli.main import cli
from ava.domain.webhooks.webhook import RETRY_SCHEDULE_SECONDS
from ava.errors import SettingsError, StartError
from ava.local import handler_folder
from ava.setting_values import SECRETS
from ava.settings import Settings
from ava.store.engine.database import driver_url
from harness.system import ROOT
from tools.site import reference

LEAST = {"DATABASE_URL": "postgresql://ava:pass@db:5432/ava", "BROKER_URL": "redis://broker:6379/0"}


def _load(**environ: str) -> Settings:
    return settings.load({**LEAST, **environ})


def test_celerys_own_command_says_in_one_line_which_setting_is_missing() -> None:
    ours = ("AVA_", "DATABASE_", "BROKER_")
    environ = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    command = [sys.executable, "-c", "import ava.app"]
    done = subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("ava: DATABASE_URL: it is not set")
    assert len(done.stderr.splitlines()) == 1


def test_two_addresses_are_enough() -> None:
    loaded = _load()
    assert loaded.handler_modules == ("workers",)
    assert loaded.internal_secrets == ()
    assert loaded.broker_is_redis


def test_a_process_without_a_broker_needs_no_address_of_one_and_reads_none() -> None:
    database = {"DATABASE_URL": LEAST["DATABASE_URL"]}
    with pytest.raises(SettingsError, match=r"^BROKER_URL: it is not set"):
        settings.load(database)
    for environ in (database, {**database, "BROKER_URL": "no URL"}, {**database, "AVA_BROKER_CA": "/dev/null"}):
        assert settings.load(environ, uses_broker=False).broker_url == ""


@pytest.mark.parametrize("scheme", ["postgres", "postgresql"])
def test_both_spellings_of_postgresql_are_one(scheme: str) -> None:
    assert _load(DATABASE_URL=f"{scheme}://ava@db/ava").database_url == "postgresql://ava@db/ava"


@pytest.mark.parametrize(
    ("url", "is_redis"), [("redis://b", True), ("rediss://b", True), ("amqp://b", False), ("amqps://b", False)]
)
def test_the_url_names_the_kind_of_broker(url: str, is_redis: bool) -> None:
    assert _load(BROKER_URL=url).broker_is_redis is is_redis


@pytest.mark.parametrize(
    "url",
    ["https://u@mail.example.com", "smtps://?from=s3cret", "smtps://s3cret.com", "smtps://u:s3cret@example.com:x"],
)
def test_a_mail_server_needs_a_host_and_a_senders_address_and_no_error_shows_its_password(url: str) -> None:
    with pytest.raises(SettingsError, match=r"^AVA_SMTP_URL: it must have the form smtps") as refused:
        _load(AVA_SMTP_URL=url)
    assert "s3cret" not in str(refused.value)
    assert _load(AVA_MAIL_DOMAINS="Example.com").mail_domains == ("example.com",)


NEW, OLD = "the-new-one-of-two", "the-old-one-of-two"


def test_several_secrets_may_be_valid_at_once() -> None:
    assert _load(AVA_INTERNAL_SECRET=f" {NEW}, {OLD} ,").internal_secrets == (NEW, OLD)


def test_an_empty_value_counts_as_unset() -> None:
    loaded = _load(AVA_DRAIN_SECONDS="", AVA_HANDLERS=" ", AVA_LOG_LEVEL="", AVA_WEBHOOK_ALLOW_PRIVATE="")
    assert loaded == _load()


@pytest.mark.parametrize(("value", "is_set"), [("1", True), ("true", True), ("ON", True), ("0", False), ("no", False)])
def test_a_flag_has_several_spellings(value: str, is_set: bool) -> None:
    assert _load(AVA_WEBHOOK_ALLOW_PRIVATE=value).allow_private_addresses is is_set


WRONG = [
    ("DATABASE_URL", ""),
    ("DATABASE_URL", "mysql://db/ava"),
    ("DATABASE_URL", "postgresql://db:port/ava"),
    ("DATABASE_URL", "postgresql://[db/ava"),
    ("BROKER_URL", ""),
    ("BROKER_URL", "sqs://"),
    ("BROKER_URL", "redis://broker:99999/0"),
    ("BROKER_URL", "redis://a:6379;redis://b:6379"),
    ("BROKER_URL", "amqp://a:5672;sentinel://b:26379"),
    ("BROKER_URL", "sentinel://a:26379;sentinel://b:99999"),
    ("AVA_DRAIN_SECONDS", "soon"),
    ("AVA_DRAIN_SECONDS", "nan"),
    ("AVA_DRAIN_SECONDS", "-1"),
    ("AVA_HEARTBEAT_SECONDS", "0"),
    ("AVA_NODE_DEAD_SECONDS", "inf"),
    ("AVA_WINDOW", "0"),
    ("AVA_WINDOW", "2.5"),
    ("AVA_API_PROCESSES", "two"),
    ("AVA_API_CONNECTIONS", "0"),
    ("AVA_RETENTION_DAYS", "forever"),
    ("AVA_LOG_LEVEL", "LOUD"),
    ("AVA_PUBLIC_URL", "jobs.example.com"),
    ("AVA_PUBLIC_URL", "https://jobs.example.com/api"),
    ("AVA_WEBHOOK_ALLOW_PRIVATE", "perhaps"),
    ("AVA_INTERNAL_SECRET", "s"),
    ("AVA_INTERNAL_SECRET", "long-enough-to-be-a-key,fifteen-letters"),
    ("AVA_BROKER_CA", "/missing.pem"),
    *(("AVA_CELL", cell) for cell in ("E1", "e", "e12", "e_")),
    ("AVA_MESSAGE_KEY", f"{'n' * 32},short"),
]
# Both values of each pair are within their own bounds.
CONTRADICTIONS = [
    ("AVA_NODE_DEAD_SECONDS", {"AVA_HEARTBEAT_SECONDS": "20"}),
    ("AVA_NODE_DEAD_SECONDS", {"AVA_HEARTBEAT_SECONDS": "5"}),
    ("AVA_NODE_DEAD_SECONDS", {"AVA_NODE_DEAD_SECONDS": "8"}),
    ("AVA_WEBHOOK_RETENTION_DAYS", {"AVA_WEBHOOK_RETENTION_DAYS": "0.1"}),
    ("AVA_BROKER_CA", {"AVA_BROKER_CA": __file__}),
    ("AVA_BROKER_CA", {"AVA_BROKER_CA": __file__, "BROKER_URL": "amqp://broker"}),
    ("DATABASE_READ_URL", {"DATABASE_READ_URL": LEAST["DATABASE_URL"]}),
    ("DATABASE_READ_URL", {"DATABASE_READ_URL": "postgres://pool/ava", "DATABASE_POOL_URL": "postgresql://pool/ava"}),
]


@pytest.mark.parametrize(("name", "environ"), [*((name, {name: value}) for name, value in WRONG), *CONTRADICTIONS])
def test_a_wrong_value_or_one_that_contradicts_another_is_refused_by_name_in_one_line(
    name: str, environ: dict[str, str]
) -> None:
    with pytest.raises(SettingsError) as refused:
        _load(**environ)
    assert refused.value.variable == name
    assert str(refused.value).startswith(f"{name}: ")
    assert "\n" not in str(refused.value)
    assert isinstance(refused.value, StartError)


def test_the_doctor_refuses_settings_that_contradict_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {**LEAST, "AVA_HEARTBEAT_SECONDS": "20"}.items():
        monkeypatch.setenv(name, value)
    result = CliRunner().invoke(cli, ["doctor"])
    assert isinstance(result.exception, SettingsError) or result.exit_code == 1
    assert "AVA_NODE_DEAD_SECONDS: 14 s is too short for AVA_HEARTBEAT_SECONDS (20 s)" in (
        result.output + str(result.exception)
    )


def test_the_retries_of_a_webhook_take_as_long_as_the_settings_say() -> None:
    assert pytest.approx(sum(RETRY_SCHEDULE_SECONDS) * 1.1) == settings.WEBHOOK_RETRIES_SECONDS


@pytest.mark.parametrize(
    "environ",
    [
        {"AVA_HEARTBEAT_SECONDS": "4.6"},
        {"AVA_HEARTBEAT_SECONDS": "20", "AVA_NODE_DEAD_SECONDS": "60"},
        {"AVA_WEBHOOK_RETENTION_DAYS": "0.12"},
        {"AVA_WEBHOOK_RETENTION_DAYS": "0.001", "AVA_WEBHOOK_TIME_SCALE": "0.001"},
        {"AVA_BROKER_CA": __file__, "BROKER_URL": "rediss://broker"},
        {"DATABASE_READ_URL": "postgresql://ava:pass@standby/ava"},
    ],
)
def test_settings_that_agree_are_taken(environ: dict[str, str]) -> None:
    _load(**environ)


def test_the_repr_of_settings_holds_no_secret() -> None:
    environ = {
        "DATABASE_URL": "postgresql://ava:hidden-1@db/ava",
        "BROKER_URL": "amqp://ava:hidden-2@broker//",
        "AVA_INTERNAL_SECRET": "hidden-3-and-longer",
        "AVA_WORKER_SLACK_TOKEN": "hidden-4",
    }
    assert "hidden" not in repr(settings.load(environ))


def test_the_alias_of_the_handler_modules_is_read() -> None:
    assert _load(AVA_WORKERS="a, b").handler_modules == ("a", "b")
    assert _load(AVA_WORKERS="a,b", AVA_HANDLERS="a, b").handler_modules == ("a", "b")


def test_two_names_for_different_handler_modules_are_refused() -> None:
    with pytest.raises(SettingsError, match=r"^AVA_HANDLERS: AVA_WORKERS, its alias, names other modules"):
        _load(AVA_WORKERS="a", AVA_HANDLERS="b")


def test_every_default_is_the_loaded_value() -> None:
    addresses = {"database_url": LEAST["DATABASE_URL"], "broker_url": LEAST["BROKER_URL"]}
    assert _load() == Settings(**addresses)  # type: ignore[arg-type]


def test_a_refusal_does_not_repeat_a_password() -> None:
    with pytest.raises(SettingsError) as refused:
        _load(DATABASE_URL="mysql://ava:hidden@db/ava")
    assert "hidden" not in str(refused.value)


@pytest.mark.parametrize("name", ["DATABASE_URL", "BROKER_URL"])
@pytest.mark.parametrize("password", ["12/hidden", "hid?den", "hid#den", "1#hidden"])
def test_a_password_that_would_be_read_as_a_path_is_refused_without_being_shown(name: str, password: str) -> None:
    scheme = LEAST[name].split(":")[0]
    with pytest.raises(SettingsError, match=f"^{name}: ") as refused:
        _load(**{name: f"{scheme}://ava:{password}@host/0"})
    assert "hid" not in str(refused.value)


def test_an_unescaped_at_sign_belongs_to_the_password() -> None:
    url = driver_url(_load(DATABASE_URL="postgresql://ava:p@ss@w@db:5433/ava?sslmode=require").database_url)
    assert (url.username, url.password, url.host, url.port, url.database) == ("ava", "p@ss@w", "db", 5433, "ava")


def test_several_hosts_are_passed_on_to_libpq() -> None:
    url_string = "postgresql://ava:p%40ss@h1:5432,h2,[::1]:5434/ava"
    url = driver_url(_load(DATABASE_URL=url_string).database_url)
    _, options = url.get_dialect()().create_connect_args(url)
    assert options == {
        "host": "h1,h2,::1",
        "port": "5432,5432,5434",
        "user": "ava",
        "password": "p@ss",
        "dbname": "ava",
        "target_session_attrs": "read-write",
        "load_balance_hosts": "random",
    }
    own = driver_url("postgresql://h1,h2/ava?target_session_attrs=any&load_balance_hosts=disable").query
    assert (own["target_session_attrs"], own["load_balance_hosts"]) == ("any", "disable")
    with pytest.raises(SettingsError):
        _load(DATABASE_URL="postgresql://h1:5432,h2:port/ava")


def test_every_setting_is_documented_and_nothing_else_is() -> None:
    source = "".join(Path(module.__file__).read_text() for module in (settings, setting_values, handler_folder))
    read = set(
        re.findall(r'"(DATABASE_(?:POOL_|READ_|OWNER_)?URL|BROKER_URL|NOTIFY_SOCKET|AVA_[A-Z0-9_]*[A-Z0-9])"', source)
    )
    documented = set(re.findall(r"`((?:DATABASE|BROKER|NOTIFY|AVA)_[A-Z0-9_]+)", reference.configuration()))
    # The first stands for many names, the second is an example.
    assert read == documented - {"AVA_WORKER_", "AVA_API_KEY_FILE"}


def test_a_pool_alone_gives_no_connection_a_session_of_its_own() -> None:
    pool = "postgresql://ava:pass@pool:6432/ava"
    assert _load().has_sessions
    assert _load(DATABASE_POOL_URL=pool).has_sessions
    alone = _load(DATABASE_URL="", DATABASE_POOL_URL=pool)
    assert (alone.database_url, alone.has_sessions) == (pool, False)
    assert not _load(DATABASE_URL=pool, DATABASE_POOL_URL=pool).has_sessions


# Secrets in files ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SECRETS)
def test_every_secret_may_come_from_a_file(name: str, tmp_path: Path) -> None:
    values = {
        **LEAST, "DATABASE_OWNER_URL": "postgresql://owner:pass@db/ava",
        "DATABASE_POOL_URL": "postgresql://ava:pass@pool/ava", "DATABASE_READ_URL": "postgresql://ava:pass@standby/ava",
        "AVA_INTERNAL_SECRET": f"{NEW},{OLD}",
        "AVA_ENCRYPTION_KEY": "b2YtdGhlLXRlc3RzLW9mLXRoZS10ZXN0cy1vZi10aGU=",
        "AVA_SIGNING_KEY": "b2YtdGhlLXRlc3RzLW9mLXRoZS10ZXN0cy1vZi10aGU=", "AVA_OIDC_CLIENT_SECRET": "of-a-client",
        "AVA_API_KEY": "ava_00.key", "AVA_MESSAGE_KEY": "k" * 32, "AVA_OUTBOX_DATABASE_URL": "sqlite:///shop",
        "AVA_SMTP_URL": "smtps://ava%40example.com:pass@mail.example.com",
    }  # fmt: skip
    file = tmp_path / "secret"
    file.write_text(f"{values[name]}\n")
    by_file = {**values, name: "", f"{name}_FILE": str(file)}
    assert settings.load(by_file) == settings.load(values)
    assert settings.load_client(by_file) == settings.load_client(values)
    with pytest.raises(SettingsError, match=f"^{name}_FILE: {name} is also set"):
        settings.load({**values, f"{name}_FILE": str(file)})


@pytest.mark.parametrize("content", [b"", b" \n", b"\xff", b"a\0b", b"x" * 65_537])
def test_a_file_that_holds_no_secret_is_refused(content: bytes, tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_bytes(content)
    with pytest.raises(SettingsError, match=r"^AVA_INTERNAL_SECRET_FILE: the file must contain the value"):
        _load(AVA_INTERNAL_SECRET_FILE=str(file))
    with pytest.raises(SettingsError, match=r"^AVA_INTERNAL_SECRET_FILE: the file cannot be read"):
        _load(AVA_INTERNAL_SECRET_FILE=str(tmp_path / "missing"))


def test_the_commands_read_their_key_from_a_file_as_well(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text("new,old")
    assert settings.load_client({"AVA_INTERNAL_SECRET_FILE": str(file)}).secret == "new"
    assert settings.load_client({"AVA_API_KEY_FILE": str(file)}).api_key == "new,old"


def test_a_cell_is_two_characters() -> None:
    assert _load().cell == "00"
    assert _load(AVA_CELL="e1").cell == "e1"


def test_several_keys_for_messages_may_be_valid_at_once() -> None:
    assert _load(AVA_MESSAGE_KEY=f"{'n' * 32}, {'o' * 32}").message_keys == (b"n" * 32, b"o" * 32)
