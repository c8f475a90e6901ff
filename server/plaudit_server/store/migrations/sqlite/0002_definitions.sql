-- What feedback types mean. Times are microseconds since 1970 UTC; `content` is the definition as it goes over the
-- wire, without what the server sets. A version holds for the records whose revision is above `since_revision`.
CREATE TABLE definition (
  project TEXT NOT NULL,
  feedback_type TEXT NOT NULL,
  version INTEGER NOT NULL,
  since_revision INTEGER NOT NULL,
  user_id TEXT NOT NULL,
  created_at INTEGER NOT NULL,
  content BLOB NOT NULL,
  PRIMARY KEY (project, feedback_type, version)
) STRICT, WITHOUT ROWID;

-- How often a project's definitions have changed: read with its lock, so that no record is stored by others.
ALTER TABLE project ADD COLUMN definitions INTEGER NOT NULL DEFAULT 0;

-- The place of a record of which there may be one: a hash, in hex; null for most. History keeps it, and checks nothing.
ALTER TABLE feedback ADD COLUMN unique_key TEXT;
ALTER TABLE feedback_history ADD COLUMN unique_key TEXT;
CREATE UNIQUE INDEX feedback_by_unique_key ON feedback (project, unique_key) WHERE unique_key IS NOT NULL;

-- Ids that became other names of a record, each with the version that it made.
CREATE TABLE feedback_alias (
  project TEXT NOT NULL,
  id TEXT NOT NULL,
  target TEXT NOT NULL,
  version INTEGER NOT NULL,
  PRIMARY KEY (project, id)
) STRICT, WITHOUT ROWID;
