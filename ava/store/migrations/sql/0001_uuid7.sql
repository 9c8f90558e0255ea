-- A UUIDv7 (RFC 9562, method 3: the twelve bits after the milliseconds hold their fraction). The database's clock is the
-- only one that orders jobs. PostgreSQL 15 to 17 have no such function; 0001_uuid7_postgresql_18.sql is for later ones.
CREATE FUNCTION ava_uuid7() RETURNS uuid LANGUAGE plpgsql VOLATILE PARALLEL SAFE AS $$
DECLARE
    micros bigint := extract(epoch FROM clock_timestamp()) * 1000000;
BEGIN
    RETURN encode(
        substring(int8send(micros / 1000) FROM 3)
        || substring(int8send(28672 + (micros % 1000) * 4096 / 1000) FROM 7)
        || set_bit(set_bit(substring(uuid_send(gen_random_uuid()) FROM 9), 7, 1), 6, 0),
        'hex')::uuid;
END
$$
