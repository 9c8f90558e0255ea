-- Makes the first partition the table again, and copies the rows of the others into it.
DO $$
DECLARE
    has_first boolean := to_regclass('TABLE_NAME_first') IS NOT NULL
        AND (SELECT relispartition FROM pg_class WHERE oid = to_regclass('TABLE_NAME_first'));
    options text := (SELECT ' WITH (' || array_to_string(reloptions, ', ') || ')' FROM pg_class
                     WHERE oid = 'TABLE_NAME_rest'::regclass);
    next bigint;
    found record;
BEGIN
    LOCK TABLE TABLE_NAME IN ACCESS EXCLUSIVE MODE;
    -- Those that the duty has detached, and not dropped yet.
    FOR found IN SELECT relname AS name FROM pg_class WHERE relkind = 'r' AND NOT relispartition
        AND relnamespace = current_schema()::regnamespace AND relname ~ '^TABLE_NAME_(first|[0-9]{8})$'
    LOOP
        EXECUTE format('DROP TABLE %I', found.name);
    END LOOP;
    ALTER TABLE TABLE_NAME RENAME TO TABLE_NAME_parts;
    IF has_first THEN
        ALTER TABLE TABLE_NAME_parts DETACH PARTITION TABLE_NAME_first;
    ELSE
        EXECUTE 'CREATE TABLE TABLE_NAME_first (LIKE TABLE_NAME_parts INCLUDING DEFAULTS INCLUDING CONSTRAINTS INCLUDING STORAGE)'
            || coalesce(options, '');
    END IF;
    FOR found IN SELECT c.relname AS name, substr(c.relname, length('TABLE_NAME') + 1) AS suffix, i.indisprimary,
            substring(pg_get_indexdef(c.oid) FROM 'USING .*') AS definition
        FROM pg_index AS i JOIN pg_class AS c ON c.oid = i.indexrelid
        WHERE i.indrelid = 'TABLE_NAME_parts'::regclass ORDER BY c.relname
    LOOP
        EXECUTE format('ALTER INDEX %I RENAME TO %I', found.name, 'TABLE_NAME_parts' || found.suffix);
        IF has_first THEN
            EXECUTE format('ALTER INDEX %I RENAME TO %I', 'TABLE_NAME_first' || found.suffix, found.name);
        ELSIF found.indisprimary THEN
            EXECUTE format('ALTER TABLE TABLE_NAME_first ADD CONSTRAINT %I PRIMARY KEY (id)', found.name);
        ELSE
            EXECUTE format('CREATE INDEX %I ON TABLE_NAME_first ', found.name) || found.definition;
        END IF;
    END LOOP;
    ALTER TABLE TABLE_NAME_first RENAME TO TABLE_NAME;
    INSERT INTO TABLE_NAME SELECT * FROM TABLE_NAME_parts;
    FOR found IN SELECT a.privilege_type AS privilege, coalesce(quote_ident(r.rolname), 'PUBLIC') AS grantee
        FROM pg_class AS c CROSS JOIN LATERAL aclexplode(c.relacl) AS a LEFT JOIN pg_roles AS r ON r.oid = a.grantee
        WHERE c.oid = 'TABLE_NAME_parts'::regclass AND a.grantee <> c.relowner
    LOOP
        EXECUTE format('GRANT %s ON TABLE_NAME TO %s', found.privilege, found.grantee);
    END LOOP;
    DROP TABLE TABLE_NAME_parts;
    IF to_regclass('TABLE_NAME_n_seq') IS NOT NULL THEN
        next := nextval('TABLE_NAME_n_seq');
        ALTER TABLE TABLE_NAME ALTER COLUMN n DROP DEFAULT;
        DROP SEQUENCE TABLE_NAME_n_seq;
        EXECUTE 'ALTER TABLE TABLE_NAME ALTER COLUMN n ADD GENERATED ALWAYS AS IDENTITY (START ' || next || ')';
    END IF;
END
$$
