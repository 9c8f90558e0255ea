CREATE TRIGGER note_event_of_new AFTER INSERT ON jobs FOR EACH ROW EXECUTE FUNCTION ava_note_event();
CREATE TRIGGER note_event_of_move AFTER UPDATE OF status ON jobs FOR EACH ROW
    WHEN (OLD.status <> NEW.status) EXECUTE FUNCTION ava_note_event();
