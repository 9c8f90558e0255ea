"""The Celery application for Celery's own programs: `celery -A ava.app worker`, `celery -A ava.app flower`."""

import sys

from ava.broker.celery_app import make_app
from ava.errors import SettingsError
from ava.node.signals import install
from ava.settings import load

try:
    settings = load()
except SettingsError as error:
    # Exit with the same message as the command `ava`, without a traceback through Celery.
    sys.exit(f"ava: {error}")
app = make_app(settings, consumes=True)
install(app, settings)
