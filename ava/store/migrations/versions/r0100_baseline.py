"""The schema of version 0.1.0, whose text is `ava/store/schema.sql`.

Revisions before 0100 are those of commits before the baseline. No upgrade leads from them.
"""

from pathlib import Path

from alembic import op

import ava.store

revision = "0100"
down_revision = None
branch_labels = None
depends_on = None

oldest_code = "0100"


def upgrade() -> None:
    op.execute((Path(ava.store.__file__).parent / "schema.sql").read_text().rstrip(";\n"))
