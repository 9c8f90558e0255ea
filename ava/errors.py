"""The tree of errors. An error's docstring is its message, and the message names the remedy.

Errors raised inside a handler are in `ava.handler.errors`. One file, because the page of errors and the clients need
the whole tree, and a reader of a response finds its code here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeVar

from ava.error_codes import ErrorCode


class AvaError(Exception):
    """Something in AVA Jobs went wrong."""

    def __str__(self) -> str:
        return str(self.args[0]) if self.args else " ".join((self.__doc__ or "").split())


# Starting a process ------------------------------------------------------------------------------------------------


class StartError(AvaError):
    """A process cannot start; the command line prints the message and exits 1."""


class ProjectError(AvaError):
    """A new project cannot be created."""


class SettingsError(StartError):
    """A setting cannot be used."""

    def __init__(self, variable: str, reason: str) -> None:
        super().__init__(f"{variable}: {reason}.")
        self.variable = variable


class DatabaseUnreachable(StartError):
    """The database of a process that starts cannot be reached, or refuses the connection."""


class ServerProgramMissing(StartError):
    """A server program that this machine needs is not installed."""


class StopRequested(AvaError):
    """The system was asked to stop."""


class ServerFailed(StartError):
    """A server that this command starts did not start."""


class DataDirectoryError(StartError):
    """The data directory cannot be used; give another --data-dir."""


class PortInUse(StartError):
    """The port is in use; choose another with --port."""


class DatabaseNotMigrated(StartError):
    """The database is older than this code; run `ava db upgrade` first."""


class DatabaseAhead(StartError):
    """The database schema is newer than this release; install the newer release, or run its `ava db downgrade`."""


class DatabaseUnreleased(StartError):
    """The database has another commit's schema (a commit before version 0.1.0), and no upgrade leads to this one's;
    back up what you need, then run `ava up --data-dir NEW_DIRECTORY`, or create a database and run `ava db upgrade`.
    """


class SchemaLocked(StartError):
    """Other transactions hold locks that a migration needs; end the oldest (`pg_stat_activity`), and run this again."""


class NoDowngrade(StartError):
    """No migration can be undone; restore a backup instead."""


class NodeFailed(StartError):
    """An error of the broker or of the machine ended the node; run `ava doctor` to find it."""


class WorkerConflict(StartError):
    """Two handlers claim one worker id; give one of them another slug."""


class HandlerError(StartError):
    """A handler's declaration is wrong."""


Found = TypeVar("Found")


def required(found: Found | None, missing: type[AvaError]) -> Found:
    """Return the value; raise the error if it is None."""
    if found is None:
        raise missing
    return found


# Answering a request -----------------------------------------------------------------------------------------------


class RequestError(AvaError):
    """The request cannot be processed."""

    #: The code that clients match; it has the HTTP status.
    code = ErrorCode.BAD_REQUEST
    #: The problem of each invalid field.
    fields: Mapping[str, object] = {}
    #: The index from 0 of the invalid entry, if the request has several.
    entry: int = 0

    @property
    def status(self) -> int:
        """The HTTP status of the response."""
        return self.code.status


class BadRequest(RequestError):
    """The request is malformed."""


class InvalidParameters(RequestError):
    """A header, a query parameter or a required field is missing or malformed."""

    code = ErrorCode.VALIDATION_ERROR

    def __init__(self, message: str, fields: Mapping[str, object]) -> None:
        super().__init__(message)
        self.fields = fields


class InvalidFields(InvalidParameters):
    """The request is well-formed, but a field is wrong."""

    @property
    def status(self) -> int:
        """422, whereas a `validation_error` is otherwise 400."""
        return 422


class TooManyComparisons(InvalidFields):
    """Patterns need more comparisons with an event than a limit allows."""


class PriorityTooUrgent(InvalidFields):
    """The priority is more urgent than the caller's role may ask for."""

    def __init__(self, reason: str, entry: int = 0, name: str = "priority") -> None:
        super().__init__(f"{name}: {reason}", {name: [reason]})
        self.reason = reason
        self.entry = entry


class Unauthorized(RequestError):
    """The caller is unknown; send a shared key in x-internal-secret, or an API key as `Authorization: Bearer ava_…`."""

    code = ErrorCode.UNAUTHORIZED


class Forbidden(RequestError):
    """The role in x-platform-role may not do this; tenant-system-admin or above may."""

    code = ErrorCode.FORBIDDEN


class ClaimMissing(Forbidden):
    """The identity provider's claims give no tenant and role; ask your administrator for access."""


class StepUpRequired(Forbidden):
    """This needs a more recent or stronger sign-in; open /oidc/sign-in?step_up=true, then try again."""


class SignInRefused(Unauthorized):
    """The sign-in has expired, was used, or began in another browser; sign in again."""


class ProviderUnavailable(RequestError):
    """The identity provider does not respond as it should; try again shortly."""

    code = ErrorCode.UNAVAILABLE


class ProviderRefused(AvaError):
    """The identity provider refuses a person, a code or a token."""


class NotFound(RequestError):
    """No such resource."""

    code = ErrorCode.RESOURCE_NOT_FOUND


class Conflict(RequestError):
    """The state forbids this."""

    code = ErrorCode.RESOURCE_CONFLICT


class JobNotFound(NotFound):
    """No such job; the id may be wrong, or its record is past retention."""


class WorkerExists(Conflict):
    """A worker with this id exists; choose another slug."""


class WorkersFull(Conflict):
    """The tenant has reached its limit of workers; delete one first."""


class WorkerInUse(Conflict):
    """Jobs of the worker wait or run; cancel them first with POST /v1/ava/jobs/cancel, or deprecate the worker."""


class RunLost(Conflict):
    """This token no longer owns the run, which ended or was declared lost. Nothing was written; stop working on it."""


class RunToStop(Conflict):
    """The job is to be cancelled, so this run creates no children; end it."""


class StepRecorded(Conflict):
    """The step has another result already, which stays; read the journal of the run."""


class InterruptedStep(RequestError):
    """An earlier run began this step and did not record its result; check whether it took effect."""

    code = ErrorCode.STEP_INTERRUPTED


class JournalFull(InvalidFields):
    """The journal of the job has reached a limit, which the message names."""


class RunNotFound(NotFound):
    """No such run; the token may be wrong, or the run ended long ago."""


class WorkerNotFound(NotFound):
    """No such worker; GET /v1/ava/workers lists all workers."""


class JobStateConflict(Conflict):
    """The job's state forbids this."""


class OperationNotFound(NotFound):
    """No such operation; GET /v1/ava/operations lists all operations within their retention."""


class OperationEnded(Conflict):
    """The operation has ended already."""


class WorkerDeprecated(JobStateConflict):
    """The worker is deprecated and takes no new jobs; trigger the worker that replaces it."""


class Contained(RequestError):
    """A containment covers this; GET /v1/ava/containments lists the active ones."""

    code = ErrorCode.CONTAINED

    def __init__(self, containment_id: str) -> None:
        super().__init__(f"The containment {containment_id} covers this; it must be lifted first.")
        self.containment_id = containment_id


class ContainmentNotFound(NotFound):
    """No such containment; GET /v1/ava/containments lists all containments within their retention."""


class ContainmentConflict(Conflict):
    """There is no proof yet: it is written once the containment is complete, and once it is lifted."""


class ContainmentsFull(Conflict):
    """The tenant has reached its limit of active containments; lift one first."""


class ChildrenRefused(RequestError):
    """A handler requests more children than its job tree may have."""

    code = ErrorCode.VALIDATION_ERROR


class RunStopped(AvaError):
    """The run no longer owns its job, or is being cancelled; it cannot create children."""


class WebhookNotFound(NotFound):
    """No such webhook or delivery; GET /v1/webhooks lists the webhooks, and old deliveries are deleted."""


class WebhookStateConflict(Conflict):
    """The webhook is paused; resume it first with POST /v1/webhooks/:id/resume."""


class NoticeNotFound(NotFound):
    """No such notice or delivery; GET /v1/ava/notices lists the notices, and old deliveries are deleted."""


class NoticeStateConflict(Conflict):
    """The notice is paused; resume it first with POST /v1/ava/notices/:id/resume."""


class NoticesFull(Conflict):
    """The tenant has reached its limit of notices; delete one first."""


class NodeNotFound(NotFound):
    """No such node, or it has stopped; GET /v1/ava/nodes lists all nodes."""


class ScheduleNotFound(NotFound):
    """No such schedule; GET /v1/ava/schedules lists all schedules."""


class ScheduleDeclared(Conflict):
    """A handler module declares this schedule; change worker, cron and timezone there, or disable it with PATCH."""


class ScheduleLimitReached(Conflict):
    """The tenant has reached its limit of schedules; delete one first."""


class WebhooksFull(Conflict):
    """The tenant has reached its limit of webhooks; delete one first."""


class HookNotFound(NotFound):
    """No such hook or delivery; GET /v1/ava/hooks lists the hooks, and old deliveries are deleted."""


class HookUnknown(NotFound):
    """No hook has this URL; it may have been rotated or deleted."""


class HookStateConflict(Conflict):
    """The delivery cannot be replayed."""


class HooksFull(Conflict):
    """The tenant has reached its limit of hooks; delete one first."""


class SubscriptionNotFound(NotFound):
    """No such subscription; GET /v1/ava/subscriptions lists all subscriptions."""


class SubscriptionsFull(Conflict):
    """The tenant has reached its limit of subscriptions; delete one first."""


class EventNotFound(NotFound):
    """No such event, or it is past retention."""


class ErrorGroupNotFound(NotFound):
    """No such error; GET /v1/ava/errors lists the groups of failed jobs."""


class ApprovalNotFound(NotFound):
    """No such approval; GET /v1/ava/approvals lists the approvals that are stored."""


class ApprovalConflict(Conflict):
    """The approval is decided, its content differs from the content that this decision names, or this person has
    decided already.
    """


class DecisionForbidden(RequestError):
    """The approval names other roles or users, or the caller caused the job."""

    code = ErrorCode.FORBIDDEN


class EncryptionKeyMissing(RequestError):
    """Secrets cannot be stored without AVA_ENCRYPTION_KEY; set it, as with `openssl rand -base64 32`."""

    code = ErrorCode.UNAVAILABLE


class PayloadTooLarge(RequestError):
    """The body is too large."""

    code = ErrorCode.PAYLOAD_TOO_LARGE


class MediaTypeRefused(RequestError):
    """The body must be JSON in UTF-8, sent with Content-Type: application/json."""

    code = ErrorCode.UNSUPPORTED_MEDIA_TYPE


class IdempotencyKeyReused(RequestError):
    """This Idempotency-Key was used for a different request in the last 24 hours; send a new key, or the same
    request.
    """

    code = ErrorCode.IDEMPOTENCY_KEY_REUSED


class TooMany(RequestError):
    """Too many concurrent requests of this kind; try again after the seconds in Retry-After."""

    code = ErrorCode.RATE_LIMITED

    def __init__(self, message: str = "", *, retry_after_seconds: int = 1) -> None:
        super().__init__(*([message] if message else []))
        #: The value of Retry-After.
        self.retry_after_seconds = retry_after_seconds


class DatabaseUnavailable(RequestError):
    """The database is unreachable; try again shortly."""

    code = ErrorCode.UNAVAILABLE


class ConnectionsBusy(DatabaseUnavailable):
    """The API is overloaded: no connection to the database was free in time; try again shortly."""


class DiskFull(DatabaseUnavailable):
    """The disk of the database is full; try again when an operator has freed space there."""


class DatabaseReadOnly(DatabaseUnavailable):
    """The database is read-only; try again when an operator has made it writable."""


class StatementTimeout(DatabaseUnavailable):
    """A statement took too long; try again shortly."""


class LockTimeout(StatementTimeout):
    """A statement waited too long for a lock; try again shortly."""


class StatementFailed(AvaError):
    """A statement failed. The message has its SQLSTATE and no value, because logs show it."""


class BrokerUnavailable(AvaError):
    """The broker is unreachable; the dispatcher publishes the job once it is back."""


class BrokerOfAnother(BrokerUnavailable):
    """The broker belongs to another installation."""


class QueueRefused(BrokerUnavailable):
    """The broker refuses a queue; the dispatcher publishes its jobs when it accepts the queue again."""

    def __init__(self, job_ids: Sequence[str] = ()) -> None:
        super().__init__()
        #: The jobs that were not published; all others were.
        self.job_ids = job_ids


# Commands ----------------------------------------------------------------------------------------------------------


class CallFailed(AvaError):
    """A command's call to the API failed; the message is the client's."""


# Running a handler -------------------------------------------------------------------------------------------------


class OutputError(AvaError):
    """The handler's return value cannot be stored as JSON."""


# Calling out -------------------------------------------------------------------------------------------------------


class OutboundError(AvaError):
    """A call to another server failed. Messages contain only the scheme and host of a URL."""


class UrlRefused(OutboundError):
    """The URL cannot be called; use a plain URL such as https://example.com/path."""


class HeaderRefused(OutboundError):
    """The method or a header cannot be sent; correct the one that the message names."""


class AddressRefused(OutboundError):
    """The address is not public, so it was not called; use a public one."""


class OutboundTimeout(OutboundError):
    """The other server took too long; try again later, or allow more seconds."""


class OutboundFailed(OutboundError):
    """The other server could not be reached, or closed the connection; check that it is up, then try again."""


class SecretUnreadable(AvaError):
    """No key in AVA_ENCRYPTION_KEY decrypts a secret; add the key that encrypted it."""


# Who may call ---------------------------------------------------------------------------------------------------------


class SignatureRefused(Unauthorized):
    """The request's signature or its time is wrong; sign the raw body with the hook's secret."""


class RunKeyEnded(Unauthorized):
    """The API key that claimed this run was revoked or has expired. Nothing was written; stop working on the run."""


class SessionEnded(Unauthorized):
    """The session has ended; sign in again."""


class OperatorsOnly(Forbidden):
    """Only platform-admin and above may do this, because it affects every tenant."""


class PayloadsHidden(Forbidden):
    """Only callers who see payloads may do this: use another API key, or a role in AVA_PAYLOAD_ROLES."""


class QueueNotFound(NotFound):
    """No such queue; a queue exists if a worker names it."""


class TenantNotFound(NotFound):
    """No such tenant, or it is not the caller's."""


class ApiKeyRoleTooHigh(Forbidden):
    """An API key may not have a higher role than its creator; choose your own role or a lower one."""


class ApiKeyNotFound(NotFound):
    """No such API key; GET /v1/ava/keys lists all keys."""


class ApiKeysFull(Conflict):
    """The tenant has reached its limit of API keys; revoke one first."""


class SessionMissing(Conflict):
    """The request carries no session's cookie; sign in with POST /v1/ava/session first."""


class SessionNested(Conflict):
    """A session, or a token of the identity provider, cannot start a session or create a link; send an API key or the
    four headers, or sign in at /oidc/sign-in.
    """
