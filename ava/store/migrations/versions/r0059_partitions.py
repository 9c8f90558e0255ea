"""Functions that create and drop the partitions of events, deliveries and the audit trail.

They run as their owner, because the role of the processes owns no table.
"""

from alembic import op

from ava.store.migrations import sql_files

revision = "0059"
down_revision = "0058"
branch_labels = None
depends_on = None

oldest_code = "0055"

_OF_OWNER = {"ava_add_partitions": "text, integer, integer", "ava_drop_partition": "text, double precision"}
# Their owner finds no table of another schema, nor a temporary one, in place of ours.
_SECURE = """
DO $$ BEGIN
    EXECUTE 'ALTER FUNCTION {function} SET search_path = ' || quote_ident(current_schema()) || ', pg_temp';
    REVOKE EXECUTE ON FUNCTION {function} FROM PUBLIC;
END $$
"""


def upgrade() -> None:
    op.execute(sql_files.read("0059_partitions"))
    for name, arguments in _OF_OWNER.items():
        op.execute(sql_files.read(f"0059_{name.removeprefix('ava_')}"))
        op.execute(_SECURE.format(function=f"{name}({arguments})"))


def downgrade() -> None:
    for name, arguments in _OF_OWNER.items():
        op.execute(f"DROP FUNCTION {name}({arguments})")
    op.execute("DROP FUNCTION ava_partitions(text)")
