-- Creates the partitions of job_logs that begin before a day ahead. Returns their number. It never creates the partition
-- of a day that has begun, because its lines may be among the rest already.
CREATE FUNCTION ava_add_log_days(days_ahead integer, width_days integer) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET lock_timeout = '100ms' AS $$
DECLARE
    today timestamptz := date_trunc('day', now(), 'UTC');
    starts timestamptz := greatest(today + interval '24 hours', (
        SELECT to_timestamp(('x' || left(replace(max(bound::text), '-', ''), 12))::bit(48)::bigint / 1000) FROM ava_log_days()));
    ends timestamptz;
    name text;
    added integer := 0;
BEGIN
    WHILE starts < today + days_ahead * interval '24 hours' LOOP
        ends := starts + width_days * interval '24 hours';
        name := 'job_logs_' || to_char(starts AT TIME ZONE 'UTC', 'YYYYMMDD');
        -- A table that is created apart is attached under a lock that writers do not wait for.
        EXECUTE 'CREATE TABLE ' || name || ' (LIKE job_logs INCLUDING CONSTRAINTS INCLUDING INDEXES) WITH ('
            'autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_threshold = 1000, '
            'autovacuum_vacuum_insert_scale_factor = 0.05, autovacuum_vacuum_insert_threshold = 10000)';
        EXECUTE 'ALTER TABLE job_logs ATTACH PARTITION ' || name || ' FOR VALUES FROM (' || quote_literal(ava_first_uuid(starts))
            || ') TO (' || quote_literal(ava_first_uuid(ends)) || ')';
        starts := ends;
        added := added + 1;
    END LOOP;
    RETURN added;
EXCEPTION WHEN lock_not_available THEN
    RETURN 0;
END
$$
