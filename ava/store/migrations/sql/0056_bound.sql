-- Adds a constraint, not valid yet, by which the table's ids are before a moment about a week ahead. May be repeated.
DO $$
DECLARE
    bound uuid := (SELECT substring(pg_get_constraintdef(oid) FROM '[0-9a-f]{8}-[0-9a-f-]{27}')::uuid FROM pg_constraint
                   WHERE conrelid = 'TABLE_NAME'::regclass AND conname = 'TABLE_NAME_bound');
BEGIN
    -- Writers do not wait for this lock. An autovacuum that holds it gives way after deadlock_timeout, a second, which is
    -- longer than the next lock may be waited for.
    PERFORM set_config('lock_timeout', '10s', true);
    LOCK TABLE TABLE_NAME IN SHARE UPDATE EXCLUSIVE MODE;
    PERFORM set_config('lock_timeout', '100ms', true);
    IF bound > ava_first_uuid(now() + interval '7 days') THEN
        RETURN;
    ELSIF bound IS NOT NULL THEN
        ALTER TABLE TABLE_NAME DROP CONSTRAINT TABLE_NAME_bound;
    END IF;
    bound := ava_first_uuid(date_trunc('day', now(), 'UTC') + interval '192 hours');
    EXECUTE 'ALTER TABLE TABLE_NAME ADD CONSTRAINT TABLE_NAME_bound CHECK (id < ' || quote_literal(bound) || ') NOT VALID';
END
$$
