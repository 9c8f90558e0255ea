"""The settings of Django's own tests of tasks, whose tasks are jobs."""

SECRET_KEY = "of-the-tests"
USE_TZ = True
# The application `tasks` is the package of Django's tests.
INSTALLED_APPS = ["ava_django", "tasks"]
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}
TASKS = {"default": {"BACKEND": "ava_django.backend.AvaBackend", "QUEUES": []}}
