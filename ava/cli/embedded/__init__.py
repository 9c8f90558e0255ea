"""PostgreSQL and Redis for one machine: real servers, private to it, run by an unprivileged account.

`programs` finds the server programs, `folder` the place for their data, `account` who runs them; `postgres` and `redis`
know each server: how it is prepared, run and asked whether it answers.
"""
