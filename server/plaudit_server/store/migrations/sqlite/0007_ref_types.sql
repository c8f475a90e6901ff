-- What a ref has, by type, is counted in the index of refs: the type joins it, so that no record is read for that.
DROP INDEX feedback_by_ref;
CREATE INDEX feedback_by_ref ON feedback (project, ref, created_at, id, feedback_type);
