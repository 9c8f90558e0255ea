"""The Django application with the model of the outbox."""

from django.apps import AppConfig

__all__ = ["AvaDjangoConfig"]


class AvaDjangoConfig(AppConfig):
    """The configuration of the application."""

    name = "ava_django"
    verbose_name = "AVA Jobs"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Register Django's check of the backends, which would otherwise be imported with the first task."""
        import django.tasks  # noqa: F401
