"""Random scripts of durable functions, with kills between any two calls, and what they must lead to."""

from __future__ import annotations

import random
from typing import Any

Script = list[dict[str, Any]]


def scenario(seed: int) -> dict[str, Any]:
    """Return a scenario of three to seven calls, the same for the same seed, with up to two kills."""
    draw = random.Random(seed)
    script: Script = []
    output: dict[str, Any] = {}
    effects: dict[str, int] = {}
    children: list[int] = []
    for number in range(draw.randint(3, 7)):
        verb = draw.choice(["step", "step", "at_most", "child", "wait", "sleep"])
        if verb in ("step", "at_most"):
            name = f"step {number}"
            call: dict[str, Any] = {"step": name, "value": draw.choice([number, None, {"n": [number]}, "é\u0000"])}
            script.append(call | ({"once": "at_most"} if verb == "at_most" else {}))
            output[name], effects[name] = call["value"], 1
        elif verb == "child":
            script.append({"trigger": f"child {number}", "input": {"n": number}})
            children.append(number)
        elif verb == "wait" and children:
            name, awaited = f"wait {number}", draw.sample(children, draw.randint(1, len(children)))
            script.append({"wait": [f"child {each}" for each in awaited], "name": name})
            output[name] = [each * 10 for each in awaited]
        else:
            script.append({"sleep": f"sleep {number}", "seconds": 1})
    for number in range(draw.randint(0, 2)):
        script.insert(draw.randint(0, len(script)), {"kill": f"kill {number}"})
    expected = {"status": "completed", "output": output, "effects": effects, "children": len(children)}
    return {"name": f"random {seed}", "script": script, "expect": expected | {"journal": _journal(script)}}


def _journal(script: Script) -> list[list[str]]:
    kinds = {"step": "step", "trigger": "child", "sleep": "sleep"}
    return [[kind, call[verb], "done"] for call in script for verb, kind in kinds.items() if verb in call]
