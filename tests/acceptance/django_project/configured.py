"""Names the settings, as `celery.py` of a Django project does: the node is started without them."""

import os

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "settings")
