-- The smallest id that can be made at a moment: its first 48 bits are the milliseconds since 1970.
CREATE OR REPLACE FUNCTION ava_first_uuid(at timestamptz) RETURNS uuid LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT (lpad(to_hex((extract(epoch FROM at) * 1000)::bigint), 12, '0') || repeat('0', 20))::uuid
$$
