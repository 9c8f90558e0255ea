"""A backend of django.tasks on AVA Jobs: `BACKEND: "ava_django.backend.AvaBackend"`.

In `INSTALLED_APPS` it adds the model of the outbox. `AVA_HANDLERS=ava_django.handlers` makes a node run the tasks.
"""

from ava_django.options import ava_options

__all__ = ["ava_options"]
