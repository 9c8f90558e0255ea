"""The package of handlers as a worker process loads it."""

from ava.handler import registry


def test_loading_the_package_declares_its_four_handlers() -> None:
    registry.load(["workers"])
    specs = {
        each.spec.id: each.spec for each in registry.handlers().values() if each.function.__module__[:8] == "workers."
    }
    assert sorted(specs) == ["wkr_csv_summary", "wkr_http_request", "wkr_incident_notify", "wkr_sleep"]
    assert all(spec.name and spec.description for spec in specs.values())
    assert (specs["wkr_incident_notify"].timeout_seconds, specs["wkr_incident_notify"].max_retries) == (120, 1)
