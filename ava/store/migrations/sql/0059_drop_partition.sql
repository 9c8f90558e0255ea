-- Detaches the oldest partition of a table if all its ids are older than its rows are kept, or drops one that was
-- detached before, because the files of a large table take a while. Returns the number of partitions: 1 or 0.
-- Events stay as long as there are deliveries of them, which the fan-out may have created on a later day.
CREATE FUNCTION ava_drop_partition(of_table text, kept_days double precision) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET lock_timeout = '100ms' AS $$
DECLARE
    part record;
BEGIN
    IF of_table NOT IN ('audit', 'webhook_deliveries', 'webhook_events') THEN
        RAISE EXCEPTION 'no partition of % is dropped', of_table;
    END IF;
    FOR part IN SELECT relname AS name FROM pg_class WHERE relkind = 'r' AND NOT relispartition
        AND relnamespace = current_schema()::regnamespace AND relname ~ ('^' || of_table || '_(first|[0-9]{8})$')
    LOOP
        EXECUTE format('DROP TABLE %I', part.name);
        RETURN 1;
    END LOOP;
    FOR part IN SELECT name, bound FROM ava_partitions(of_table)
        WHERE bound <= ava_first_uuid(now() - greatest(kept_days, 0) * interval '24 hours') LIMIT 1
    LOOP
        IF of_table = 'webhook_events'
            AND (SELECT event_id FROM webhook_deliveries ORDER BY event_id LIMIT 1) < part.bound THEN
            RETURN 0;
        END IF;
        EXECUTE format('LOCK TABLE %I IN ACCESS EXCLUSIVE MODE', of_table);
        -- A fan-out may have created some before the lock.
        IF of_table = 'webhook_events'
            AND (SELECT event_id FROM webhook_deliveries ORDER BY event_id LIMIT 1) < part.bound THEN
            RETURN 0;
        END IF;
        EXECUTE format('ALTER TABLE %I DETACH PARTITION %I', of_table, part.name);
        RETURN 1;
    END LOOP;
    RETURN 0;
EXCEPTION WHEN lock_not_available THEN
    RETURN 0;
END
$$
