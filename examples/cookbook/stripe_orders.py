"""Fulfil an order once Stripe has reported its payment."""

from dataclasses import dataclass

from ava import Env, worker


@dataclass
class Payment:
    payment: str
    order: str
    cents: int


@dataclass
class Parcel:
    order: str


def book(payment: str, cents: int) -> str:
    print(f"Booking {cents} cents of {payment}")
    return f"booking of {payment}"


def send_mail(order: str, parcel: str) -> None:
    print(f"To the customer of {order}: {parcel} is on its way")


@worker(max_retries=5)
def pack_order(input: Parcel) -> str:
    return f"parcel {input.order}-1"


@worker(max_retries=5)
def fulfil_order(input: Payment, env: Env) -> dict[str, str]:
    booking = env.step("book", book, input.payment, input.cents)
    parcel = pack_order.trigger(Parcel(input.order)).wait()
    env.step("mail", send_mail, input.order, parcel, once="at_most")
    return {"booking": booking, "parcel": parcel}
