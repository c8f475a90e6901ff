-- What feedback types mean. Times are microseconds since 1970 UTC; `content` is the definition as it goes over the
-- wire, without what the server sets. A version holds for the records whose revision is above `since_revision`.
CREATE TABLE definition (
  project text COLLATE "C" NOT NULL,
  feedback_type text COLLATE "C" NOT NULL,
  version bigint NOT NULL,
  since_revision bigint NOT NULL,
  user_id text COLLATE "C" NOT NULL,
  created_at bigint NOT NULL,
  content bytea NOT NULL,
  PRIMARY KEY (project, feedback_type, version)
);

-- How often a project's definitions have changed: read with its lock, so that no record is stored by others.
ALTER TABLE project ADD COLUMN definitions bigint NOT NULL DEFAULT 0;

-- The place of a record of which there may be one: a hash, in hex; null for most. History keeps it, and checks nothing.
ALTER TABLE feedback ADD COLUMN unique_key text COLLATE "C";
ALTER TABLE feedback_history ADD COLUMN unique_key text COLLATE "C";
CREATE UNIQUE INDEX feedback_by_unique_key ON feedback (project, unique_key) WHERE unique_key IS NOT NULL;

-- Ids that became other names of a record, each with the version that it made.
CREATE TABLE feedback_alias (
  project text COLLATE "C" NOT NULL,
  id text COLLATE "C" NOT NULL,
  target text COLLATE "C" NOT NULL,
  version bigint NOT NULL,
  PRIMARY KEY (project, id)
);
