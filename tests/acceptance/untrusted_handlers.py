"""Handlers of the tests of an untrusted broker: one for all tenants, and one that is another tenant's."""

from __future__ import annotations

from ava import worker


@worker("open")
def run_open(input):
    return {"ran": "open"}


@worker("private", tenants=["ten_other"])
def run_private(input):
    return {"ran": "private"}
