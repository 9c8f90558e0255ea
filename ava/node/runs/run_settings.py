"""Settings of a run from its tenant, the platform and the environment: configuration, secrets and timeout."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from ava.domain.jobs.job import Job
from ava.domain.jobs.retry import Retry
from ava.domain.secrets.masking import SecretMask
from ava.domain.secrets.sealing import Sealer
from ava.domain.worker import WorkerSettings
from ava.errors import EncryptionKeyMissing, SecretUnreadable
from ava.handler.registry import Handler
from ava.store.fleet.worker_settings import PLATFORM


@dataclass(frozen=True, kw_only=True)
class RunSettings:
    config: Mapping[str, str] = field(default_factory=dict)
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)
    #: Timeout in seconds, at most the handler's own; None: the handler's.
    timeout_seconds: float | None = None
    #: Retry delays of a failed attempt; None: the handler's.
    retry: Retry | None = None
    #: 0: unlimited.
    max_memory_mb: int = 0
    #: Why the secrets are unavailable; the handler is then not called.
    fault: Exception | None = None
    mask: SecretMask | None = None


def from_environment(handler: Handler, worker_config: Mapping[str, str]) -> RunSettings:
    """Return the settings of the environment, `AVA_WORKER_<SLUG>_<KEY>`."""
    prefix = f"{handler.slug.upper()}_"
    config = {key.removeprefix(prefix): value for key, value in worker_config.items() if key.startswith(prefix)}
    # Read-only, because runs share it.
    return RunSettings(config=MappingProxyType(config))


def with_tenant_settings(
    base: RunSettings, job: Job, own: WorkerSettings | None, platform: WorkerSettings | None, sealer: Sealer
) -> RunSettings:
    """Return a run's settings if its tenant or the platform has settings for its worker.

    The tenant's settings override the platform's, which override the environment's, `base`.
    """
    given = [(tenant, settings) for tenant, settings in ((PLATFORM, platform), (job.tenant_id, own)) if settings]
    config = dict(base.config)
    secrets: dict[str, str] = {}
    timeout_seconds = retry = None
    fault: Exception | None = None
    for tenant_id, settings in given:
        config |= settings.config
        timeout_seconds = settings.timeout_seconds or timeout_seconds
        retry = settings.retry or retry
        try:
            secrets |= dict(_opened(settings.secrets, sealer, tenant_id))
        except (SecretUnreadable, EncryptionKeyMissing) as error:
            fault = error
    return replace(base, config=config, secrets=secrets, timeout_seconds=timeout_seconds, retry=retry, fault=fault)


def _opened(sealed: Mapping[str, str], sealer: Sealer, tenant_id: str) -> Iterator[tuple[str, str]]:
    if not sealed:
        return
    own = sealer.of_tenant(tenant_id)
    for name, sealed_value in sealed.items():
        yield name, own.open(sealed_value)
