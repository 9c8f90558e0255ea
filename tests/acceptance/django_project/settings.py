"""The settings of a Django project with tasks and an outbox."""

import os
from pathlib import Path

SECRET_KEY = "of-the-tests"
USE_TZ = True
INSTALLED_APPS = ["ava_django", "shop"]
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": Path(os.environ["SHOP_DATABASE"]),
        "OPTIONS": {"timeout": 20},
    }
}
TASKS = {
    "default": {"BACKEND": "ava_django.backend.AvaBackend", "QUEUES": ["default", "mail"]},
    "outbox": {"BACKEND": "ava_django.backend.AvaBackend", "QUEUES": ["default", "mail"], "OPTIONS": {"outbox": True}},
}
