-- Writes the event of a job's move if an endpoint of its tenant subscribes to it.
-- A job's sequence numbers follow from its run: 3 for each, of which the first is the start, the second the return to
-- the queue, and the third the final status. They ascend with gaps, independent of the subscriptions.
CREATE FUNCTION ava_note_event() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    event text := 'ava.job.' || CASE NEW.status WHEN 'running' THEN 'started' ELSE NEW.status END;
BEGIN
    IF EXISTS (SELECT 1 FROM webhook_endpoints AS e
               WHERE e.tenant_id = NEW.tenant_id AND e.status IN ('active', 'degraded') AND event = ANY(e.events)) THEN
        INSERT INTO webhook_events (tenant_id, type, job_id, sequence, status, attempt, started_at, completed_at,
                                    cancel_requested_at, cancelled_by, progress)
        VALUES (NEW.tenant_id, event, NEW.id,
                NEW.run_no * 3 + CASE NEW.status WHEN 'running' THEN 0 WHEN 'queued' THEN 1 ELSE 2 END,
                NEW.status, NEW.attempt, NEW.started_at, NEW.completed_at, NEW.cancel_requested_at, NEW.cancelled_by,
                NEW.progress);
    END IF;
    RETURN NULL;
END
$$
