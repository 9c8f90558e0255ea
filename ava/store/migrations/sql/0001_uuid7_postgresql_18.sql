-- PostgreSQL 18 and later make UUIDv7s themselves.
CREATE FUNCTION ava_uuid7() RETURNS uuid LANGUAGE sql VOLATILE PARALLEL SAFE AS 'SELECT uuidv7()'
