-- Creates the partitions of a table that begin before a day ahead. Returns their number. It never creates the partition
-- of a day that has begun, because its rows may be among the rest already, nor of one that has rows there, because the
-- clock of the process that made their ids was ahead.
CREATE FUNCTION ava_add_partitions(of_table text, days_ahead integer, width_days integer) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET lock_timeout = '100ms' AS $$
DECLARE
    today timestamptz := date_trunc('day', now(), 'UTC');
    starts timestamptz := greatest(today + interval '24 hours', (
        SELECT to_timestamp(('x' || left(replace(max(bound::text), '-', ''), 12))::bit(48)::bigint / 1000)
        FROM ava_partitions(of_table)));
    key text := CASE of_table WHEN 'job_logs' THEN 'job_id' ELSE 'id' END;
    options text;
    ends timestamptz;
    name text;
    has_rows boolean;
    added integer := 0;
BEGIN
    IF of_table NOT IN ('audit', 'job_logs', 'webhook_deliveries', 'webhook_events') THEN
        RAISE EXCEPTION 'no partitions of % are created', of_table;
    END IF;
    SELECT ' WITH (' || array_to_string(reloptions, ', ') || ')' INTO options FROM pg_class
    WHERE oid = to_regclass(of_table || '_rest');
    WHILE starts < today + days_ahead * interval '24 hours' LOOP
        ends := starts + width_days * interval '24 hours';
        EXECUTE format('SELECT EXISTS (SELECT FROM %I WHERE %I >= $1 AND %I < $2)', of_table || '_rest', key, key)
            INTO has_rows USING ava_first_uuid(starts), ava_first_uuid(ends);
        IF has_rows THEN
            starts := ends;
            CONTINUE;
        END IF;
        name := of_table || '_' || to_char(starts AT TIME ZONE 'UTC', 'YYYYMMDD');
        -- A table that is created apart is attached under a lock that writers do not wait for.
        EXECUTE format('CREATE TABLE %I (LIKE %I INCLUDING DEFAULTS INCLUDING CONSTRAINTS INCLUDING INDEXES '
                       'INCLUDING STORAGE)', name, of_table) || coalesce(options, '');
        EXECUTE format('ALTER TABLE %I ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)', of_table, name,
                       ava_first_uuid(starts), ava_first_uuid(ends));
        starts := ends;
        added := added + 1;
    END LOOP;
    RETURN added;
EXCEPTION WHEN lock_not_available OR check_violation THEN
    RETURN 0;
END
$$
