"""The Flask application."""

from __future__ import annotations

from flask import Flask, Response, g, request

from ava.api import auth, bulk, docs, errors, health, jobs, queues, streams, workers
from ava.api.context import EXTENSION, Context
from ava.broker.app import make_app as make_celery_app
from ava.broker.publisher import Publisher
from ava.services.jobs import Jobs
from ava.services.readiness import Readiness
from ava.services.watches import Watches
from ava.services.workers import Workers
from ava.settings import Settings
from ava.store.database import Database

__all__ = ["make_app"]

_BLUEPRINTS = (
    jobs.blueprint,
    bulk.blueprint,
    streams.blueprint,
    workers.blueprint,
    queues.blueprint,
    health.blueprint,
    docs.blueprint,
)


def make_app(settings: Settings) -> Flask:
    """Build the application of one process. Nothing connects yet."""
    app = Flask("ava.api", static_folder=None)
    # Our own view answers OPTIONS, in JSON's world; and two addresses for one thing would need redirects, in HTML's.
    app.config["PROVIDE_AUTOMATIC_OPTIONS"] = False
    app.url_map.strict_slashes = True
    app.url_map.merge_slashes = False
    app.extensions[EXTENSION] = _make_context(settings)
    app.before_request(auth.name_request)
    app.before_request(_options)
    app.before_request(auth.identify)
    app.after_request(_finish)
    errors.install(app)
    for blueprint in _BLUEPRINTS:
        app.register_blueprint(blueprint)
    return app


def _make_context(settings: Settings) -> Context:
    database = Database(settings.database_url, name="api", pool_size=settings.api_connections)
    celery = make_celery_app(settings)
    publisher = Publisher(celery, settings)
    return Context(
        settings=settings,
        jobs=Jobs(database, publisher, celery),
        workers=Workers(database, node_dead_seconds=settings.node_dead_seconds),
        readiness=Readiness(database, settings),
        watches=Watches(database),
        database=database,
        publisher=publisher,
    )


def _options() -> Response | None:
    """Answer OPTIONS for every route there is."""
    allowed = getattr(request.routing_exception, "valid_methods", None)
    if request.method != "OPTIONS" or not allowed:
        return None
    answer = Response(status=204)
    answer.headers["Allow"] = ", ".join(sorted({*allowed, "OPTIONS"}))
    return answer


def _finish(answer: Response) -> Response:
    answer.headers["x-request-id"] = g.get("request_id", "")
    # Answers belong to their tenant, and no browser is to guess at them.
    answer.headers.setdefault("Cache-Control", "no-store")
    answer.headers["X-Content-Type-Options"] = "nosniff"
    return answer
