"""Sessions: schemas of requests and responses."""

from __future__ import annotations

from marshmallow import Schema, fields, post_load

from ava.api.http.callers.credentials import ROLES
from ava.api.http.fields import ClientId, Flag, Id, Instant, String, WholeNumber
from ava.api.http.records import compile_schema
from ava.api.http.strict import Strict
from ava.domain.access.actor import Via


class SessionBody(Strict):
    """The tenant to show from now on."""

    tenant_id = ClientId("ten", required=True)

    @post_load
    def make(self, data: dict[str, str], **_: object) -> str:
        return data["tenant_id"]


class SessionTenantRecord(Schema):
    """A tenant of the caller."""

    tenant_id = Id("ten")
    role = String(metadata={"enum": list(ROLES)})


class SessionRecord(Schema):
    """The current caller."""

    tenant_id = Id("ten", metadata={"description": "The tenant of all data that the request reads or writes."})
    user_id = String(metadata={"description": "The user, or the id of the API key that signed in."})
    role = String(metadata={"enum": list(ROLES)})
    expires_at = Instant(
        allow_none=True, metadata={"description": "When the session ends; null: the request has no session."}
    )
    payloads = Flag(metadata={"description": "True if the caller has payload permission."})
    via = String(
        metadata={"enum": [Via.HEADERS, Via.OIDC, Via.KEY], "description": "How the caller proved its identity."}
    )
    name = String(allow_none=True, metadata={"description": "The person's name; null unless the provider tells it."})
    tenants = fields.List(
        fields.Nested(SessionTenantRecord), metadata={"description": "The caller's tenants, and the shown one."}
    )
    sign_out_url = String(
        allow_none=True,
        metadata={"description": "Where the browser signs out of the identity provider; null except after sign-out."},
    )


class LinkRecord(Schema):
    """A link that signs in once."""

    path = String(
        metadata={
            "description": "The path to append to the address of the dashboard. Its token is in the fragment, which "
            "browsers do not send to a server."
        }
    )
    expires_at = Instant()


class EndedSessionsRecord(Schema):
    """The number of ended sessions."""

    ended = WholeNumber(minimum=0, maximum=2**53)


write_session = compile_schema(SessionRecord())
write_link = compile_schema(LinkRecord())
write_ended = compile_schema(EndedSessionsRecord())
