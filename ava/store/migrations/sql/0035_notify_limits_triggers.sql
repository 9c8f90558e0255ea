CREATE TRIGGER notify_limit_of_new AFTER INSERT ON jobs FOR EACH ROW
    WHEN (NEW.limit_key IS NOT NULL AND NEW.run_at = 'infinity') EXECUTE FUNCTION ava_notify_limit();
CREATE TRIGGER notify_limit_of_move AFTER UPDATE OF status ON jobs FOR EACH ROW
    WHEN (NEW.limit_key IS NOT NULL AND OLD.status <> NEW.status AND NEW.status <> 'running')
    EXECUTE FUNCTION ava_notify_limit();
