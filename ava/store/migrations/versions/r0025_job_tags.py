"""The tags of jobs, a row each, so that the jobs of a tag are an index range, newest first."""

from alembic import op

revision = "0025"
down_revision = "0024"
branch_labels = None
depends_on = None

oldest_code = "0024"


def upgrade() -> None:
    op.execute("""
CREATE TABLE job_tags (
    tenant_id text NOT NULL,
    key text NOT NULL,
    value text NOT NULL,
    job_id uuid NOT NULL,
    CONSTRAINT job_tags_pkey PRIMARY KEY (tenant_id, key, value, job_id)
) WITH (autovacuum_vacuum_scale_factor=0.05, autovacuum_vacuum_threshold=1000,
        autovacuum_vacuum_insert_scale_factor=0.05, autovacuum_vacuum_insert_threshold=10000)
""")


def downgrade() -> None:
    op.execute("DROP TABLE job_tags")
