"""The tasks of the application."""

from __future__ import annotations

import asyncio
import logging
import time

from ava_django import ava_options
from django.db import connection
from django.tasks import task

from shop.models import Order

logger = logging.getLogger(__name__)


class NoSuchOrder(Exception):
    """There is no such order."""


@task
def pay(order):
    """Marks an order as paid."""
    found = Order.objects.get(pk=order)
    found.paid = True
    found.save()
    logger.info("Order %s is paid", order)
    return {"order": order, "pair": (1, 2)}


@task(takes_context=True, priority=50, queue_name="mail")
def context_of(context, word):
    return [context.attempt, context.task_result.task.priority, context.task_result.id, word]


@task
async def wait_a_moment(seconds):
    await asyncio.sleep(seconds)
    return await Order.objects.acount()


@task
def fail(reason):
    raise NoSuchOrder(reason)


@task(takes_context=True)
@ava_options(max_retries=2, timeout_seconds=30)
def flaky(context):
    if context.attempt < 2:
        raise OSError("not yet")
    return context.attempt


@task
def nap(seconds):
    time.sleep(seconds)


@task
def breaks_its_connection():
    Order.objects.count()
    connection.connection.close()


@task(backend="outbox")
def receipt(order):
    return order
