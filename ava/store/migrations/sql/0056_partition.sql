-- Makes a table the first partition of a new one that has its name, columns, constraints, indexes and rights.
DO $$
DECLARE
    bound text := (SELECT substring(pg_get_constraintdef(oid) FROM '[0-9a-f]{8}-[0-9a-f-]{27}') FROM pg_constraint
                   WHERE conrelid = 'TABLE_NAME'::regclass AND conname = 'TABLE_NAME_bound');
    options text := (SELECT ' WITH (' || array_to_string(reloptions, ', ') || ')' FROM pg_class
                     WHERE oid = 'TABLE_NAME'::regclass);
    found record;
BEGIN
    -- An autovacuum gives way first, see 0056_bound.
    PERFORM set_config('lock_timeout', '10s', true);
    LOCK TABLE TABLE_NAME IN SHARE UPDATE EXCLUSIVE MODE;
    PERFORM set_config('lock_timeout', '100ms', true);
    LOCK TABLE TABLE_NAME IN ACCESS EXCLUSIVE MODE;
    -- Before PostgreSQL 17 partitions share no identity, so a sequence goes on from it.
    FOR found IN SELECT attname AS name, nextval(pg_get_serial_sequence('TABLE_NAME', attname)) AS next FROM pg_attribute
        WHERE attrelid = 'TABLE_NAME'::regclass AND attidentity <> ''
    LOOP
        EXECUTE format('ALTER TABLE TABLE_NAME ALTER COLUMN %I DROP IDENTITY', found.name);
        EXECUTE format('CREATE SEQUENCE TABLE_NAME_%s_seq START %s', found.name, found.next);
        EXECUTE format('ALTER TABLE TABLE_NAME ALTER COLUMN %I SET DEFAULT nextval(%L)', found.name,
                       'TABLE_NAME_' || found.name || '_seq');
    END LOOP;
    ALTER TABLE TABLE_NAME RENAME TO TABLE_NAME_first;
    CREATE TABLE TABLE_NAME (LIKE TABLE_NAME_first INCLUDING DEFAULTS INCLUDING CONSTRAINTS INCLUDING STORAGE)
        PARTITION BY RANGE (id);
    ALTER TABLE TABLE_NAME DROP CONSTRAINT TABLE_NAME_bound;
    FOR found IN SELECT c.relname AS name, i.indisprimary, substring(pg_get_indexdef(c.oid) FROM 'USING .*') AS definition
        FROM pg_index AS i JOIN pg_class AS c ON c.oid = i.indexrelid
        WHERE i.indrelid = 'TABLE_NAME_first'::regclass ORDER BY c.relname
    LOOP
        EXECUTE format('ALTER INDEX %I RENAME TO %I', found.name,
                       'TABLE_NAME_first' || substr(found.name, length('TABLE_NAME') + 1));
        IF found.indisprimary THEN
            ALTER TABLE TABLE_NAME ADD PRIMARY KEY (id);
        ELSE
            EXECUTE format('CREATE INDEX %I ON TABLE_NAME ', found.name) || found.definition;
        END IF;
    END LOOP;
    -- The valid constraint says what the partition's bound says, so no row is read.
    EXECUTE 'ALTER TABLE TABLE_NAME ATTACH PARTITION TABLE_NAME_first FOR VALUES FROM (MINVALUE) TO ('
        || quote_literal(bound) || ')';
    ALTER TABLE TABLE_NAME_first DROP CONSTRAINT TABLE_NAME_bound;
    EXECUTE 'CREATE TABLE TABLE_NAME_rest PARTITION OF TABLE_NAME DEFAULT' || coalesce(options, '');
    -- The processes keep their rights without an interval.
    FOR found IN SELECT a.privilege_type AS privilege, coalesce(quote_ident(r.rolname), 'PUBLIC') AS grantee
        FROM pg_class AS c CROSS JOIN LATERAL aclexplode(c.relacl) AS a LEFT JOIN pg_roles AS r ON r.oid = a.grantee
        WHERE c.oid = 'TABLE_NAME_first'::regclass AND a.grantee <> c.relowner
    LOOP
        EXECUTE format('GRANT %s ON TABLE_NAME, TABLE_NAME_rest TO %s', found.privilege, found.grantee);
        IF found.privilege = 'INSERT' AND to_regclass('TABLE_NAME_n_seq') IS NOT NULL THEN
            EXECUTE 'GRANT USAGE, SELECT ON SEQUENCE TABLE_NAME_n_seq TO ' || found.grantee;
        END IF;
    END LOOP;
END
$$
