"""Reseal the secrets of webhooks, notices, hooks and workers, and the signing key, and find unreadable ones."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from ava.domain import ids
from ava.domain.secrets.sealing import Sealer, worker_keys
from ava.services.signing import sealer_of
from ava.store import installation
from ava.store.engine.database import Connection, Database
from ava.store.events import hooks
from ava.store.fleet import worker_settings
from ava.store.fleet.worker_settings import PLATFORM
from ava.store.webhooks import endpoints

_SIGNING_KEY = "the signing key"


@dataclass(frozen=True, kw_only=True)
class _Sealed:
    owner: str
    is_of_worker: bool
    sealer: Sealer
    secrets: Mapping[str, str]
    #: Store the resealed secrets. Return False if they have changed in between.
    replace: Callable[[Mapping[str, str]], bool]


def reseal_all(database: Database, keys: Sequence[bytes]) -> tuple[int, int]:
    """Seal every secret again with the first key, so that older keys can be removed.

    Return the numbers of webhooks and hooks, and of pairs of worker and tenant, with resealed secrets. Raise
    `SecretUnreadable` if a secret's key is no longer set.
    """
    webhooks = of_workers = 0
    with database.connect() as connection:
        for each in _all_sealed(connection, keys):
            done = each.replace({name: each.sealer.reseal(sealed) for name, sealed in each.secrets.items()})
            webhooks += done and not each.is_of_worker and each.owner != _SIGNING_KEY
            of_workers += done and each.is_of_worker
    return webhooks, of_workers


def unreadable(database: Database, keys: Sequence[bytes]) -> tuple[int, list[str]]:
    """Return the number of owners of secrets, and the owners with a secret that no key opens."""
    with database.connect() as connection:
        found = list(_all_sealed(connection, keys))
    return len(found), [each.owner for each in found if not all(map(each.sealer.opens, each.secrets.values()))]


def _all_sealed(connection: Connection, keys: Sequence[bytes]) -> Iterator[_Sealed]:
    of_webhooks, of_workers = Sealer(keys), Sealer(worker_keys(keys))
    yield from _sealed_signing_key(connection, keys)
    for tenant_id, uuid, secret, previous, is_notice in endpoints.sealed_secrets(connection):

        def replace_webhook(
            new: Mapping[str, str], tenant_id: str = tenant_id, uuid: str = uuid, old: str = secret
        ) -> bool:
            secret, previous = new["secret"], new.get("previous_secret")
            return endpoints.reseal(
                connection, tenant_id=tenant_id, uuid=uuid, old=old, secret=secret, previous=previous
            )

        yield _Sealed(
            owner=ids.encode("ntc" if is_notice else "wh", uuid),
            is_of_worker=False,
            sealer=of_webhooks,
            secrets={"secret": secret} if previous is None else {"secret": secret, "previous_secret": previous},
            replace=replace_webhook,
        )
    for tenant_id, uuid, secrets_json in hooks.sealed_secrets(connection):
        entries = json.loads(secrets_json)

        def replace_hook(
            new: Mapping[str, str],
            tenant_id: str = tenant_id,
            uuid: str = uuid,
            old: str = secrets_json,
            entries: list[dict[str, str]] = entries,
        ) -> bool:
            sealed = [{**each, "sealed": new[str(position)]} for position, each in enumerate(entries)]
            return hooks.reseal(connection, tenant_id=tenant_id, uuid=uuid, old=old, new=json.dumps(sealed))

        if entries:
            yield _Sealed(
                owner=ids.encode("hk", uuid),
                is_of_worker=False,
                sealer=of_webhooks.of_tenant(tenant_id),
                secrets={str(position): each["sealed"] for position, each in enumerate(entries)},
                replace=replace_hook,
            )
    for worker_id, tenant_id, secrets in worker_settings.sealed_secrets(connection):

        def replace_worker(
            new: Mapping[str, str],
            worker_id: str = worker_id,
            tenant_id: str = tenant_id,
            old: Mapping[str, str] = secrets,
        ) -> bool:
            return worker_settings.reseal(connection, worker_id=worker_id, tenant_id=tenant_id, old=old, new=new)

        yield _Sealed(
            owner=f"{worker_id} of {'the platform' if tenant_id == PLATFORM else tenant_id}",
            is_of_worker=True,
            sealer=of_workers.of_tenant(tenant_id),
            secrets=secrets,
            replace=replace_worker,
        )


def _sealed_signing_key(connection: Connection, keys: Sequence[bytes]) -> Iterator[_Sealed]:
    sealed = installation.current_key(connection)
    if sealed is not None:
        yield _Sealed(
            owner=_SIGNING_KEY,
            is_of_worker=False,
            sealer=sealer_of(keys),
            secrets={"key": sealed},
            replace=lambda new: installation.reseal_key(connection, old=sealed, new=new["key"]),
        )
