"""Migrations, shipped inside the package.

`ava/store/schema.sql` is the schema of version 0.1.0, which the first migration runs. Until 0.1.0 is released, edit
that file. After the release a change is the next number in `versions/`, with `upgrade` and `downgrade`.

- A migration only adds, and the schema accepts writes of the previous release, which still runs on it. Its
  `oldest_code` is the revision of the oldest release that may run after it. A migration of the next release removes
  obsolete parts.
- It holds locks only briefly: it is one transaction that changes one table, and `ava db upgrade` waits 1.2 s for a
  lock. Constraints are added `NOT VALID` and validated in another migration.
- An index of a growing table is the only step of its migration: `compatibility.create_index`, which can be repeated.
"""
