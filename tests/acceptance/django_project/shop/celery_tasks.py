"""Celery's tasks of the application."""

from __future__ import annotations

from celery import shared_task
from django.db import connection

from shop.models import Order


@shared_task
def count_orders() -> int:
    return Order.objects.count()


@shared_task
def has_a_connection_of_another_task() -> bool:
    was_open = connection.connection is not None
    Order.objects.count()
    return was_open
