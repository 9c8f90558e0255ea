"""The Celery application for Celery's own programs: `celery -A ava.app worker`, `celery -A ava.app flower`."""

from ava.broker.app import make_app
from ava.node.signals import install
from ava.settings import load

settings = load()
app = make_app(settings, consumes=True)
install(app, settings)
