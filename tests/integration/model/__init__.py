"""A model of every state transition of a job: it drives the real statements through random histories.

| module | what it holds |
|---|---|
| `cast` | the tenants, workers, nodes and queues of a history, and what is set of them |
| `state` | a job as the model sees it |
| `transitions` | what each transition makes of a job: pure functions of `state` |
| `expected` | what one step may change |
| `recorder` | which statements were sent, and a kill between two of them |
| `driver`, `run_driver` | every call of the store and of the dispatcher's duties: what changes with the product |
| `broker` | a broker in memory: messages that are late, lost or come twice |
| `client_rules`, `run_rules`, `end_rules`, `journal_rules`, `pull_rules` | the steps of clients and of runs |
| `graph_rules`, `event_rules`, `schedule_rules` | the steps of graphs, events and schedules |
| `duty_rules`, `setting_rules` | the steps of the dispatcher and of operators |
| `history` | one history: its steps from a seed, and the comparison after each |
| `oracle` | what must hold of all rows whatever was done |
| `healing` | the end of a history: everything heals, and every job becomes final |
| `coverage` | the statements that write what decides on a transition, and those that were driven |
| `__main__` | `python -m tests.integration.model --seconds 600 --seed 7` |
| `mutants`, `defects` | defects that the model must find, in a statement or in a function |
"""
