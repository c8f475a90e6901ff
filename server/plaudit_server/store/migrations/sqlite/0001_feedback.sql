-- The first schema, in its final shape. Times are microseconds since 1970 UTC.
-- Every key and index begins with project: no statement reads across projects, and a distributed
-- engine can place a project's rows together.

-- Server-wide values: the store's id, and what a write probe touches.
CREATE TABLE meta (
  key TEXT NOT NULL PRIMARY KEY,
  value BLOB NOT NULL
) STRICT, WITHOUT ROWID;

-- Each project's counter of changes, and its clock: the last time that was given out.
CREATE TABLE project (
  project TEXT NOT NULL PRIMARY KEY,
  revision INTEGER NOT NULL,
  last_created_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Live records. `kind` is that of the record's last change: 1 created, 2 replaced.
-- `head` is the record but its payload as it goes over the wire, see records.py.
CREATE TABLE feedback (
  project TEXT NOT NULL,
  id TEXT NOT NULL,
  revision INTEGER NOT NULL,
  version INTEGER NOT NULL,
  kind INTEGER NOT NULL,
  created_at INTEGER NOT NULL,
  updated_at INTEGER NOT NULL,
  user_id TEXT NOT NULL,
  ref TEXT NOT NULL,
  feedback_type TEXT NOT NULL,
  creator TEXT,
  annotation_ref TEXT,
  runnable_ref TEXT,
  call_ref TEXT,
  trigger_ref TEXT,
  queue_id TEXT,
  scorer_tags TEXT NOT NULL,
  scorer_tag_reasons TEXT NOT NULL,
  scorer_tag_confidences TEXT NOT NULL,
  scorer_ratings TEXT NOT NULL,
  scorer_rating_reasons TEXT NOT NULL,
  scorer_rating_confidences TEXT NOT NULL,
  span_agent_name TEXT NOT NULL,
  span_agent_version TEXT NOT NULL,
  span_status_code TEXT NOT NULL,
  span_conversation_id TEXT NOT NULL,
  span_trace_id TEXT NOT NULL,
  scorer_trace_id TEXT NOT NULL,
  head BLOB NOT NULL,
  payload TEXT NOT NULL,
  PRIMARY KEY (project, id)
) STRICT;

CREATE UNIQUE INDEX feedback_by_revision ON feedback (project, revision);
CREATE INDEX feedback_by_time ON feedback (project, created_at, id);
CREATE INDEX feedback_by_creator ON feedback (project, creator, created_at, id);
CREATE INDEX feedback_by_type ON feedback (project, feedback_type, created_at, id);
CREATE INDEX feedback_by_ref ON feedback (project, ref, created_at, id);

-- Versions that were replaced, each with the change that made it, and tombstones: kind 3, version 0,
-- the ref and type that were purged, who did it (user_id) and when (both times), and nothing of the content.
CREATE TABLE feedback_history (
  project TEXT NOT NULL,
  id TEXT NOT NULL,
  revision INTEGER NOT NULL,
  version INTEGER NOT NULL,
  kind INTEGER NOT NULL,
  created_at INTEGER NOT NULL,
  updated_at INTEGER NOT NULL,
  user_id TEXT NOT NULL,
  ref TEXT NOT NULL,
  feedback_type TEXT NOT NULL,
  creator TEXT,
  annotation_ref TEXT,
  runnable_ref TEXT,
  call_ref TEXT,
  trigger_ref TEXT,
  queue_id TEXT,
  scorer_tags TEXT,
  scorer_tag_reasons TEXT,
  scorer_tag_confidences TEXT,
  scorer_ratings TEXT,
  scorer_rating_reasons TEXT,
  scorer_rating_confidences TEXT,
  span_agent_name TEXT,
  span_agent_version TEXT,
  span_status_code TEXT,
  span_conversation_id TEXT,
  span_trace_id TEXT,
  scorer_trace_id TEXT,
  head BLOB NOT NULL,
  payload TEXT NOT NULL,
  PRIMARY KEY (project, id, version)
) STRICT;

CREATE UNIQUE INDEX feedback_history_by_revision ON feedback_history (project, revision);

-- API keys of the whole server: hashes of their secrets, and what their bearers may do. `projects` is a JSON
-- array of patterns. Rows are added and revoked, never removed: so their two counts tell of every change.
CREATE TABLE api_key (
  id TEXT NOT NULL PRIMARY KEY,
  principal TEXT NOT NULL,
  hash BLOB NOT NULL,
  role TEXT NOT NULL,
  projects TEXT NOT NULL,
  created_at INTEGER NOT NULL,
  expires_at INTEGER,
  revoked_at INTEGER
) STRICT, WITHOUT ROWID;
