DO $$
DECLARE
    grantee text;
BEGIN
    LOCK TABLE job_logs IN ACCESS EXCLUSIVE MODE;
    ALTER TABLE job_logs RENAME TO job_logs_parts;
    ALTER TABLE job_logs_parts RENAME CONSTRAINT job_logs_pkey TO job_logs_parts_pkey;
    ALTER INDEX job_logs_not_info RENAME TO job_logs_parts_not_info;
    IF to_regclass('job_logs_first') IS NOT NULL THEN
        ALTER TABLE job_logs_parts DETACH PARTITION job_logs_first;
    ELSE
        CREATE TABLE job_logs_first (LIKE job_logs_parts INCLUDING CONSTRAINTS) WITH (
            autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_threshold = 1000,
            autovacuum_vacuum_insert_scale_factor = 0.05, autovacuum_vacuum_insert_threshold = 10000);
        ALTER TABLE job_logs_first ADD CONSTRAINT job_logs_first_pkey PRIMARY KEY (job_id, seq);
        CREATE INDEX job_logs_first_not_info ON job_logs_first (job_id, level, seq) WHERE level <> 'info';
    END IF;
    ALTER TABLE job_logs_first RENAME TO job_logs;
    ALTER INDEX job_logs_first_pkey RENAME TO job_logs_pkey;
    ALTER INDEX job_logs_first_not_info RENAME TO job_logs_not_info;
    INSERT INTO job_logs SELECT * FROM job_logs_parts;
    FOR grantee IN SELECT DISTINCT r.rolname FROM pg_class AS c CROSS JOIN LATERAL aclexplode(c.relacl) AS a
                   JOIN pg_roles AS r ON r.oid = a.grantee WHERE c.oid = 'job_logs_parts'::regclass AND a.grantee <> c.relowner
    LOOP
        EXECUTE 'GRANT SELECT, INSERT, UPDATE, DELETE ON job_logs TO ' || quote_ident(grantee);
    END LOOP;
    DROP TABLE job_logs_parts;
END
$$
