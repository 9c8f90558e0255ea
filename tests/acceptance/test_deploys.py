"""A deploy while jobs wait: the handler that continues is another one than the handler that began."""

from __future__ import annotations

from pathlib import Path

from harness.polling import wait_until
from harness.system import System
from tests.acceptance.witness import Witness

_BEFORE = """
from ava import worker
from tests.acceptance.witness import record

def effect(input, name):
    record(input, "old:" + name)
    return name

@worker("t_release")
def release(input, env):
    env.step("build", effect, input, "build")
    env.step("check", effect, input, "check")
    env.step("dropped", effect, input, "dropped")
    children = [env.trigger("t_piece", {"n": n}, key=f"piece {n}") for n in range(2)]
    env.wait(*children, env.trigger("t_release_gate", input, key="approval"))
    env.step("publish", effect, input, "publish")

@worker("t_piece")
def piece(input, env):
    return input["n"]

@worker("t_release_gate")
def gate(input, env):
    env.sleep(input["seconds"])
"""
#: `check` comes first and `build` is called `compile`; `sign` is new, `dropped` is gone, and there is one more child.
_AFTER = """
from ava import worker
from tests.acceptance.witness import record

def effect(input, name):
    record(input, "new:" + name)
    return name

@worker("t_release")
def release(input, env):
    found = [env.step("check", effect, input, "check")]
    found.append(env.step("sign", effect, input, "sign"))
    found.append(env.step("compile", effect, input, "compile", was=["build"]))
    approval = env.trigger("t_release_gate", input, key="gate", was=["approval"])
    children = [env.trigger("t_piece", {"n": n}, key=f"piece {n}") for n in (2, 1, 0)]
    outputs = env.wait(*children, approval)
    found.append(env.step("publish", effect, input, "publish"))
    return {"steps": found, "outputs": list(outputs)}

@worker("t_piece")
def piece(input, env):
    return input["n"]

@worker("t_release_gate")
def gate(input, env):
    env.sleep(input["seconds"])
"""


def test_a_job_that_waits_continues_with_steps_renamed_reordered_added_and_removed(
    nodes: System, witness: Witness, tmp_path: Path
) -> None:
    module = tmp_path / "released_handlers.py"
    module.write_text(_BEFORE)
    python_path = f"{tmp_path}:{nodes.environ.get('PYTHONPATH', '')}".rstrip(":")
    nodes.start_nodes(environ={"AVA_HANDLERS": "released_handlers", "PYTHONPATH": python_path})
    job = nodes.trigger("wkr_t_release", input={**witness.input, "seconds": 4})["id"]
    wait_until(lambda: nodes.show(job)["waiting_for"] is not None, what=lambda: nodes.show(job))
    (node,) = nodes.workers
    node.kill()
    nodes.workers.clear()
    module.write_text(_AFTER)
    nodes.start_nodes()
    nodes.wait_for(job, "completed", seconds=90)
    found = nodes.show(job)
    assert found["output"] == {"steps": ["check", "sign", "build", "publish"], "outputs": [2, 1, 0, None]}
    # What the old handler has done is not done again, also under another name.
    assert witness.words == ["old:build", "old:check", "old:dropped", "new:sign", "new:publish"]
    tree = nodes.get(f"/v1/ava/jobs/{job}/tree").json()["data"]["jobs"]
    assert sorted(each["name"] for each in tree if each["parent_id"] == job) == [
        "approval", "piece 0", "piece 1", "piece 2",
    ]  # fmt: skip
    assert found["attempt"] == 1
