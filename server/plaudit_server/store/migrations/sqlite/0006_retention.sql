-- What is true of a whole project, read with its lock, as a sum: 1 it is under a legal hold, 2 ids of it are in
-- feedback_gone, 4 it has rules of retention, 8 everything in it was deleted, and nothing was stored since then.
ALTER TABLE project ADD COLUMN flags INTEGER NOT NULL DEFAULT 0;

-- The ids of records that were removed at the end of their time: the 16 bytes of each, and nothing else of the record.
CREATE TABLE feedback_gone (
  project TEXT NOT NULL,
  id BLOB NOT NULL,
  PRIMARY KEY (project, id)
) STRICT, WITHOUT ROWID;

-- For how many days records of a type are kept, `*` being every type without a rule of its own. `put_at` is in
-- microseconds since 1970 UTC. With 0 days the type has no rule of its own since then.
CREATE TABLE retention_rule (
  project TEXT NOT NULL,
  feedback_type TEXT NOT NULL,
  days INTEGER NOT NULL,
  user_id TEXT NOT NULL,
  put_at INTEGER NOT NULL,
  PRIMARY KEY (project, feedback_type)
) STRICT, WITHOUT ROWID;

-- Every legal hold that a project was ever under: times in microseconds since 1970 UTC, and who did it on the machine.
CREATE TABLE legal_hold (
  project TEXT NOT NULL,
  put_at INTEGER NOT NULL,
  put_by TEXT NOT NULL,
  reason TEXT NOT NULL,
  lifted_at INTEGER,
  lifted_by TEXT,
  PRIMARY KEY (project, put_at)
) STRICT, WITHOUT ROWID;
