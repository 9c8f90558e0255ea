-- Detaches the oldest partition of job_logs that no job needs, or drops one that was detached before, because the files of
-- a large table take a while. Returns the number of partitions: 1 or 0.
-- Jobs that ended late may be left in a partition when the others of their day are past the days for which jobs are kept.
-- If they have few lines, those move to the rest.
CREATE FUNCTION ava_drop_log_days(kept_days double precision, most_lines integer) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET lock_timeout = '100ms' AS $$
DECLARE
    part record;
    has_jobs boolean;
    lines bigint;
BEGIN
    FOR part IN SELECT relname AS name FROM pg_class WHERE relkind = 'r' AND NOT relispartition
        AND relnamespace = current_schema()::regnamespace AND relname ~ '^job_logs_(first|[0-9]{8})$'
    LOOP
        EXECUTE 'DROP TABLE ' || part.name;
        RETURN 1;
    END LOOP;
    -- No transaction of an hour ago still inserts a job.
    FOR part IN SELECT name, coalesce(first_id, ava_first_uuid('epoch')) AS first_id, bound FROM ava_log_days()
        WHERE bound < ava_first_uuid(now() - interval '1 hour')
    LOOP
        has_jobs := EXISTS (SELECT FROM jobs WHERE id >= part.first_id AND id < part.bound);
        IF has_jobs THEN
            CONTINUE WHEN part.bound >= ava_first_uuid(now() - (kept_days + 1) * interval '24 hours');
            EXECUTE 'SELECT count(*) FROM (SELECT FROM jobs AS j JOIN ' || part.name || ' AS l ON l.job_id = j.id '
                'WHERE j.id >= $1 AND j.id < $2 LIMIT $3) AS left_over' INTO lines USING part.first_id, part.bound, most_lines;
            CONTINUE WHEN lines >= most_lines;
        END IF;
        LOCK TABLE job_logs IN ACCESS EXCLUSIVE MODE;
        EXECUTE 'ALTER TABLE job_logs DETACH PARTITION ' || part.name;
        IF has_jobs THEN
            EXECUTE 'INSERT INTO job_logs SELECT l.* FROM jobs AS j JOIN ' || part.name || ' AS l ON l.job_id = j.id '
                'WHERE j.id >= $1 AND j.id < $2' USING part.first_id, part.bound;
        END IF;
        RETURN 1;
    END LOOP;
    RETURN 0;
EXCEPTION WHEN lock_not_available THEN
    RETURN 0;
END
$$
