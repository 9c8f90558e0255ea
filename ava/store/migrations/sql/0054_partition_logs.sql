DO $$
DECLARE
    bound text := (SELECT substring(pg_get_constraintdef(oid) FROM '[0-9a-f]{8}-[0-9a-f-]{27}') FROM pg_constraint
                   WHERE conrelid = 'job_logs'::regclass AND conname = 'job_logs_bound');
    grantee text;
BEGIN
    -- An autovacuum gives way first, see 0054_bound_logs.
    PERFORM set_config('lock_timeout', '10s', true);
    LOCK TABLE job_logs IN SHARE UPDATE EXCLUSIVE MODE;
    PERFORM set_config('lock_timeout', '100ms', true);
    LOCK TABLE job_logs IN ACCESS EXCLUSIVE MODE;
    ALTER TABLE job_logs RENAME TO job_logs_first;
    ALTER INDEX job_logs_pkey RENAME TO job_logs_first_pkey;
    ALTER INDEX job_logs_not_info RENAME TO job_logs_first_not_info;
    CREATE TABLE job_logs (
        job_id uuid NOT NULL,
        seq bigint NOT NULL,
        ts timestamptz NOT NULL,
        level text NOT NULL CONSTRAINT job_logs_level_check CHECK (level IN ('info', 'warn', 'error')),
        msg text NOT NULL,
        PRIMARY KEY (job_id, seq)
    ) PARTITION BY RANGE (job_id);
    CREATE INDEX job_logs_not_info ON job_logs (job_id, level, seq) WHERE level <> 'info';
    -- The valid constraint says what the partition's bound says, so no row is read.
    EXECUTE 'ALTER TABLE job_logs ATTACH PARTITION job_logs_first FOR VALUES FROM (MINVALUE) TO (' || quote_literal(bound) || ')';
    ALTER TABLE job_logs_first DROP CONSTRAINT job_logs_bound;
    CREATE TABLE job_logs_rest PARTITION OF job_logs DEFAULT WITH (
        autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_threshold = 1000,
        autovacuum_vacuum_insert_scale_factor = 0.05, autovacuum_vacuum_insert_threshold = 10000);
    -- The processes keep their rights without an interval.
    FOR grantee IN SELECT DISTINCT r.rolname FROM pg_class AS c CROSS JOIN LATERAL aclexplode(c.relacl) AS a
                   JOIN pg_roles AS r ON r.oid = a.grantee WHERE c.oid = 'job_logs_first'::regclass AND a.grantee <> c.relowner
    LOOP
        EXECUTE 'GRANT SELECT, INSERT, UPDATE, DELETE ON job_logs, job_logs_rest TO ' || quote_ident(grantee);
    END LOOP;
END
$$
