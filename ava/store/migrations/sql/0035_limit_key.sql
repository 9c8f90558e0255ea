-- The key of a limit: the worker, and what the limit is per. A value inside an input belongs to its tenant. Its JSON is
-- the key, or a hash of it if it is long; a missing value is null. An input that PostgreSQL cannot walk, because a text
-- in it holds NUL, has a key of its own.
CREATE FUNCTION ava_limit_key(worker_id text, per text, tenant_id text, input json) RETURNS text
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
DECLARE
    value text;
BEGIN
    IF per IS NULL THEN
        RETURN worker_id;
    ELSIF per = 'tenant' THEN
        RETURN worker_id || ' ' || tenant_id;
    END IF;
    BEGIN
        value := coalesce((input #> string_to_array(substr(per, length('input.') + 1), '.'))::text, 'null');
    EXCEPTION WHEN OTHERS THEN
        value := input::text;
    END;
    IF octet_length(value) > 200 THEN
        value := 'md5:' || md5(value);
    END IF;
    RETURN worker_id || ' ' || tenant_id || ' ' || value;
END
$$;
