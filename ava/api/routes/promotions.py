"""`/v1/ava/promotions`: promotions of a PostgreSQL standby, for platform roles."""

from __future__ import annotations

from flask import Blueprint, Response

from ava.api.http import responses
from ava.api.http.context import caller, context
from ava.api.http.operations import operation
from ava.api.schemas.promotions import PromotionRecord, write_promotion
from ava.services.overview import MAX_PROMOTIONS

blueprint = Blueprint("promotions", __name__, url_prefix="/v1/ava/promotions")


@blueprint.get("")
@operation(
    summary="List the promotions of a standby",
    description=f"For platform-admin and above: the newest {MAX_PROMOTIONS} promotions of a standby of PostgreSQL, "
    "the latest first, and whether commits are known to be lost with the server before it.",
    record=PromotionRecord(many=True),
)
def list_promotions() -> Response:
    """Show the promotions."""
    found = context().admin.overviews.promotions(caller())
    return responses.data(f"[{','.join([write_promotion(promotion) for promotion in found])}]")
