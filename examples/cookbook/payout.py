"""Pay out an amount, and never twice."""

import os
import time
from dataclasses import dataclass
from pathlib import Path

import ava
from ava import Env, worker


@dataclass
class Payout:
    id: str
    cents: int


def pay(ledger: str, payout: str, cents: int) -> str:
    """Write to a file, which stands for a bank that responds after 20 s."""
    with Path(ledger).open("a") as file:
        file.write(f"{payout} {cents}\n")
    print(f"Process {os.getpid()} pays {payout}")
    time.sleep(20)
    return "paid"


def look_up(ledger: str, payout: str) -> str:
    lines = Path(ledger).read_text().splitlines()
    return "paid" if any(line.split()[0] == payout for line in lines) else "not paid"


@worker(max_retries=3)
def pay_out(input: Payout, env: Env) -> str:
    ledger = env.get("LEDGER", "ledger.txt")
    try:
        outcome = env.step("pay", pay, ledger, input.id, input.cents, once="at_most")
    except ava.StepInterrupted:
        outcome = env.step("look up", look_up, ledger, input.id)
        print(f"The payment was interrupted; at the bank, {input.id} is {outcome}")
    if outcome != "paid":
        raise ava.GiveUp(f"{input.id} is {outcome}; check it, and trigger a new payout")
    return str(outcome)
