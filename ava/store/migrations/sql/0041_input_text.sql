-- The text of a string, number, true, false or null at a place in an input; NULL if there is none, or a list or an object.
-- PostgreSQL does not walk an input in which a text holds NUL or half a character, so those are replaced first.
CREATE FUNCTION ava_input_text(input json, path text[]) RETURNS text
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $function$
DECLARE
    found json;
BEGIN
    BEGIN
        found := input #> path;
    EXCEPTION WHEN OTHERS THEN
        found := regexp_replace(input::text, '\\u(0000|[dD][89a-fA-F][0-9a-fA-F]{2})', '\\ufffd', 'g')::json #> path;
    END;
    RETURN CASE json_typeof(found)
        WHEN 'string' THEN found #>> '{}'
        WHEN 'object' THEN NULL
        WHEN 'array' THEN NULL
        ELSE found::text
    END;
END
$function$;
