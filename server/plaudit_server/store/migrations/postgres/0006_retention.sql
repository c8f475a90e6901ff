-- What is true of a whole project, read with its lock, as a sum: 1 it is under a legal hold, 2 ids of it are in
-- feedback_gone, 4 it has rules of retention, 8 everything in it was deleted, and nothing was stored since then.
ALTER TABLE project ADD COLUMN flags bigint NOT NULL DEFAULT 0;

-- The ids of records that were removed at the end of their time: the 16 bytes of each, and nothing else of the record.
CREATE TABLE feedback_gone (
  project text COLLATE "C" NOT NULL,
  id bytea NOT NULL,
  PRIMARY KEY (project, id)
);

-- For how many days records of a type are kept, `*` being every type without a rule of its own. `put_at` is in
-- microseconds since 1970 UTC. With 0 days the type has no rule of its own since then.
CREATE TABLE retention_rule (
  project text COLLATE "C" NOT NULL,
  feedback_type text COLLATE "C" NOT NULL,
  days bigint NOT NULL,
  user_id text COLLATE "C" NOT NULL,
  put_at bigint NOT NULL,
  PRIMARY KEY (project, feedback_type)
);

-- Every legal hold that a project was ever under: times in microseconds since 1970 UTC, and who did it on the machine.
CREATE TABLE legal_hold (
  project text COLLATE "C" NOT NULL,
  put_at bigint NOT NULL,
  put_by text COLLATE "C" NOT NULL,
  reason text COLLATE "C" NOT NULL,
  lifted_at bigint,
  lifted_by text COLLATE "C",
  PRIMARY KEY (project, put_at)
);
