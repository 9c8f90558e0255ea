-- Wakes the active dispatcher when a job with a limit gives up its place, or begins to wait for one. Jobs without a
-- limit never come here.
CREATE FUNCTION ava_notify_limit() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('ava_limits', NEW.limit_key);
    RETURN NULL;
END
$$;
