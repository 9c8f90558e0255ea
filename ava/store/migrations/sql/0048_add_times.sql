-- Adds numbers of jobs to a histogram: `more_jobs` of `more_buckets` to `jobs` of the ascending `buckets`. A count adds few
-- buckets to a row that has hundreds, so this looks for each of them; GROUP BY over both takes thirty times as long.
CREATE FUNCTION ava_add_times(
    INOUT buckets smallint[], INOUT jobs integer[], more_buckets smallint[], more_jobs integer[]
) LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
DECLARE
    place integer;
BEGIN
    FOR n IN 1 .. cardinality(more_buckets) LOOP
        -- How many buckets are at or below this one.
        place := width_bucket(more_buckets[n], buckets);
        IF place > 0 AND buckets[place] = more_buckets[n] THEN
            jobs[place] := jobs[place] + more_jobs[n];
        ELSE
            buckets := buckets[1:place] || more_buckets[n] || buckets[place + 1:];
            jobs := jobs[1:place] || more_jobs[n] || jobs[place + 1:];
        END IF;
    END LOOP;
END
$$
