"""Migrations, shipped inside the package.

`ava/store/schema.sql` is the schema of version 0.1.0, which the first migration runs. Until 0.1.0 is released, edit
that file. After the release a change is the next number in `versions/`, with `upgrade` and `downgrade`.

- A migration adds, and accepts what the release before writes, which runs on the new schema. Its `oldest_code` is the
  revision of the oldest release that may run after it. What a release no longer uses is removed by a migration of the
  release after it.
- It holds no lock for more than a moment: it has a transaction of its own and changes one table, and `ava db upgrade`
  waits 1.2 s for a lock. Constraints are added `NOT VALID`, and validated in another migration.
- An index of a table that grows is the only step of its migration: `online.create_index`, which can be repeated.
"""
