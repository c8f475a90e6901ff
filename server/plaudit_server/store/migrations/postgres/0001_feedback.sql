-- The first schema: that of SQLite with this engine's types. Times are microseconds since 1970 UTC.
-- Every key and index begins with project, and no statement reads across projects, so that
-- create_distributed_table(…, 'project') is all it takes to spread the tables over machines.
-- All text compares by code point, whatever the database's locale is.

-- Server-wide values: the store's id, and what a write probe touches.
CREATE TABLE meta (
  key text COLLATE "C" NOT NULL PRIMARY KEY,
  value bytea NOT NULL
);

-- Each project's counter of changes, and its clock: the last time that was given out.
-- Writers of a project follow each other by locking its row.
CREATE TABLE project (
  project text COLLATE "C" NOT NULL PRIMARY KEY,
  revision bigint NOT NULL,
  last_created_at bigint NOT NULL
);

-- Live records. `kind` is that of the record's last change: 1 created, 2 replaced.
-- `head` is the record but its payload as it goes over the wire, see records.py.
CREATE TABLE feedback (
  project text COLLATE "C" NOT NULL,
  id text COLLATE "C" NOT NULL,
  revision bigint NOT NULL,
  version bigint NOT NULL,
  kind smallint NOT NULL,
  created_at bigint NOT NULL,
  updated_at bigint NOT NULL,
  user_id text COLLATE "C" NOT NULL,
  ref text COLLATE "C" NOT NULL,
  feedback_type text COLLATE "C" NOT NULL,
  creator text COLLATE "C",
  annotation_ref text COLLATE "C",
  runnable_ref text COLLATE "C",
  call_ref text COLLATE "C",
  trigger_ref text COLLATE "C",
  queue_id text COLLATE "C",
  scorer_tags text COLLATE "C" NOT NULL,
  scorer_tag_reasons text COLLATE "C" NOT NULL,
  scorer_tag_confidences text COLLATE "C" NOT NULL,
  scorer_ratings text COLLATE "C" NOT NULL,
  scorer_rating_reasons text COLLATE "C" NOT NULL,
  scorer_rating_confidences text COLLATE "C" NOT NULL,
  span_agent_name text COLLATE "C" NOT NULL,
  span_agent_version text COLLATE "C" NOT NULL,
  span_status_code text COLLATE "C" NOT NULL,
  span_conversation_id text COLLATE "C" NOT NULL,
  span_trace_id text COLLATE "C" NOT NULL,
  scorer_trace_id text COLLATE "C" NOT NULL,
  head bytea NOT NULL,
  payload text COLLATE "C" NOT NULL,
  PRIMARY KEY (project, id)
);

CREATE UNIQUE INDEX feedback_by_revision ON feedback (project, revision);
CREATE INDEX feedback_by_time ON feedback (project, created_at, id);
CREATE INDEX feedback_by_creator ON feedback (project, creator, created_at, id);
CREATE INDEX feedback_by_type ON feedback (project, feedback_type, created_at, id);
CREATE INDEX feedback_by_ref ON feedback (project, ref, created_at, id);

-- Versions that were replaced, each with the change that made it, and tombstones: kind 3, version 0,
-- the ref and type that were purged, who did it (user_id) and when (both times), and nothing of the content.
CREATE TABLE feedback_history (
  project text COLLATE "C" NOT NULL,
  id text COLLATE "C" NOT NULL,
  revision bigint NOT NULL,
  version bigint NOT NULL,
  kind smallint NOT NULL,
  created_at bigint NOT NULL,
  updated_at bigint NOT NULL,
  user_id text COLLATE "C" NOT NULL,
  ref text COLLATE "C" NOT NULL,
  feedback_type text COLLATE "C" NOT NULL,
  creator text COLLATE "C",
  annotation_ref text COLLATE "C",
  runnable_ref text COLLATE "C",
  call_ref text COLLATE "C",
  trigger_ref text COLLATE "C",
  queue_id text COLLATE "C",
  scorer_tags text COLLATE "C",
  scorer_tag_reasons text COLLATE "C",
  scorer_tag_confidences text COLLATE "C",
  scorer_ratings text COLLATE "C",
  scorer_rating_reasons text COLLATE "C",
  scorer_rating_confidences text COLLATE "C",
  span_agent_name text COLLATE "C",
  span_agent_version text COLLATE "C",
  span_status_code text COLLATE "C",
  span_conversation_id text COLLATE "C",
  span_trace_id text COLLATE "C",
  scorer_trace_id text COLLATE "C",
  head bytea NOT NULL,
  payload text COLLATE "C" NOT NULL,
  PRIMARY KEY (project, id, version)
);

CREATE UNIQUE INDEX feedback_history_by_revision ON feedback_history (project, revision);

-- API keys of the whole server: hashes of their secrets, and what their bearers may do. `projects` is a JSON
-- array of patterns. Rows are added and revoked, never removed: so their two counts tell of every change.
CREATE TABLE api_key (
  id text COLLATE "C" NOT NULL PRIMARY KEY,
  principal text COLLATE "C" NOT NULL,
  hash bytea NOT NULL,
  role text COLLATE "C" NOT NULL,
  projects text COLLATE "C" NOT NULL,
  created_at bigint NOT NULL,
  expires_at bigint,
  revoked_at bigint
);
