"""Sign containments with the key of this installation, the same in every process; publish and rotate it."""

from __future__ import annotations

import base64
import json
import logging
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from ava.domain.access.actor import SYSTEM, Actor, AuditRecord
from ava.domain.containment import Containment, ContainmentState
from ava.domain.record import format_time
from ava.domain.secrets.sealing import Sealer
from ava.domain.secrets.signing import PublicKey, SigningKey
from ava.errors import EncryptionKeyMissing, SecretUnreadable, SettingsError
from ava.settings import Settings
from ava.store import installation
from ava.store.containments import records, scopes
from ava.store.engine import clock
from ava.store.engine.database import Connection, Database
from ava.store.reports import audit

_log = logging.getLogger(__name__)

#: Cache lifetime of the public keys in a process, in seconds.
_KEYS_SECONDS = 5.0


def sealer_of(keys: Sequence[bytes]) -> Sealer:
    """Return the sealer of the private key."""
    return Sealer(keys).of_purpose("signing")


class Signing:
    """The signing key: AVA_SIGNING_KEY, otherwise a key that is generated once and stored sealed."""

    def __init__(self, database: Database, settings: Settings) -> None:
        self._database = database
        self._given = SigningKey(settings.signing_key[0]) if settings.signing_key else None
        self._sealer = sealer_of(settings.encryption_keys)
        self._keys: tuple[float, Sequence[PublicKey]] = (float("-inf"), ())

    def sign(self, connection: Connection, record: Mapping[str, Any]) -> str | None:
        """Return a record as a compact JWS, in the caller's transaction; None if no key can be read."""
        try:
            key = self._key(connection)
        except (EncryptionKeyMissing, SecretUnreadable):
            _log.error("Nothing is signed: this process can read no signing key; set AVA_ENCRYPTION_KEY as elsewhere")
            return None
        return key.sign(record)

    def _key(self, connection: Connection) -> SigningKey:
        if self._given is not None:
            installation.add_key(connection, self._given.public, sealed=None)
            return self._given
        if (sealed := installation.current_key(connection)) is None:
            self._create(connection)
            sealed = installation.current_key(connection)
        return SigningKey(base64.b64decode(self._sealer.open(str(sealed))))

    def _create(self, connection: Connection) -> SigningKey:
        seed = os.urandom(32)
        key = SigningKey(seed)
        installation.add_key(connection, key.public, sealed=self._sealer.seal(base64.b64encode(seed).decode()))
        return key

    def public_keys(self) -> Sequence[PublicKey]:
        """Return the public keys, newest first, former ones too. Create the first key if there is none yet."""
        read_at, keys = self._keys
        if time.monotonic() - read_at > _KEYS_SECONDS:
            with self._database.transaction() as connection:
                try:
                    self._key(connection)
                except (EncryptionKeyMissing, SecretUnreadable):
                    _log.warning("This process can read no signing key")
                keys = installation.public_keys(connection)
            self._keys = (time.monotonic(), keys)
        return keys

    def rotate(self) -> PublicKey:
        """Replace the stored key: delete it, and publish the new public key with all former ones.

        Raise `SettingsError` if the key is from a setting, `EncryptionKeyMissing`.
        """
        if self._given is not None:
            raise SettingsError("AVA_SIGNING_KEY", "it is the signing key; set a new one to rotate it")
        with self._database.transaction() as connection:
            installation.retire_key(connection)
            return self._create(connection).public


class ContainmentSigner:
    """Writes the proofs of containments, in the transactions that complete or end them."""

    def __init__(self, database: Database, settings: Settings) -> None:
        self.signing = Signing(database, settings)
        self.node_dead_seconds = settings.node_dead_seconds

    def end(self, connection: Connection, containment: Containment, *, by: Actor | None) -> Containment | None:
        """Lift a containment, or end it if it has expired (`by` is None). Return None if it is not active."""
        if by is None and (containment.ends_at is None or containment.ends_at > clock.now(connection)):
            return None
        held_count = scopes.count_held(connection, containment.scope)
        ended = records.end(connection, containment, held_count=held_count, by=by)
        if ended is None:
            return None
        if ended.complete_at is None:
            running, count = scopes.show_running(connection, ended.scope, dead_after_seconds=self.node_dead_seconds)
            ended = replace(ended, running=running, running_count=count)
        self.write(connection, ended)
        if by is None and ended.lifted_at is not None:
            (uuid,) = clock.new_uuids(connection, 1)
            audit.insert(connection, {uuid: _ending(ended, ended.lifted_at)})
        return ended

    def write(self, connection: Connection, containment: Containment) -> None:
        """Write the proof that a containment is complete, or was lifted, unless there is one."""
        jws = self.signing.sign(
            connection,
            {
                "installation": installation.own_id(connection),
                "tenant_id": containment.tenant_id,
                "signed_at": format_time(clock.now(connection)),
                "containment": containment.record,
            },
        )
        if jws is not None:
            records.write_proof(connection, containment, jws)


def _ending(ended: Containment, at: datetime) -> AuditRecord:
    """Return the audit entry of an expired containment. A lift is audited as a request."""
    changes = {"state": [ContainmentState.ACTIVE, ended.state], "held_count": [None, ended.held_count]}
    return AuditRecord(
        tenant_id=ended.tenant_id,
        actor=SYSTEM,
        role=SYSTEM.kind.value,
        action="containments.end",
        target=ended.id,
        status=200,
        address="dispatcher",
        request_id="",
        at=at,
        changes_json=json.dumps(changes),
    )
