"""The schema of version 0.1.0, defined in `ava/store/schema.sql`.

Revisions before 0100 are commits before the baseline. No upgrade leads from them.
"""

from alembic import op

from ava.store.migrations.compatibility import BASELINE

revision = "0100"
down_revision = None
branch_labels = None
depends_on = None

oldest_code = "0100"


def upgrade() -> None:
    op.execute(BASELINE.read_text().rstrip(";\n"))
