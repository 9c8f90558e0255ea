-- The partitions of a table by their bounds. The first one has no lower bound; the one for the rest is left out.
CREATE FUNCTION ava_partitions(of_table text) RETURNS TABLE (name text, first_id uuid, bound uuid)
LANGUAGE plpgsql STABLE AS $$
BEGIN
    RETURN QUERY
    SELECT c.relname::text, substring(b.text FROM 'FROM \(''([0-9a-f-]{36})''')::uuid,
           substring(b.text FROM 'TO \(''([0-9a-f-]{36})''')::uuid
    FROM pg_inherits AS i JOIN pg_class AS c ON c.oid = i.inhrelid
    CROSS JOIN LATERAL pg_get_expr(c.relpartbound, c.oid) AS b (text)
    WHERE i.inhparent = to_regclass(of_table) AND b.text <> 'DEFAULT' ORDER BY 3;
END
$$
