"""The model of the application."""

from django.db import models


class Order(models.Model):
    """An order."""

    paid = models.BooleanField(default=False)
