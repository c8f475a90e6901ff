-- Signing keys of feedback tokens: what each may sign. The secrets are made from the server's master secret, which is
-- in no database. `projects` and `types` are JSON arrays. Rows are added and revoked, never removed.
CREATE TABLE signing_key (
  id TEXT NOT NULL PRIMARY KEY,
  projects TEXT NOT NULL,
  types TEXT NOT NULL,
  max_days INTEGER NOT NULL,
  per_minute INTEGER NOT NULL,
  created_at INTEGER NOT NULL,
  revoked_at INTEGER
) STRICT, WITHOUT ROWID;

-- Feedback tokens that were ended before their time, by the id of their signing key and their own.
CREATE TABLE revoked_token (
  key_id TEXT NOT NULL,
  token_id TEXT NOT NULL,
  expires_at INTEGER NOT NULL,
  PRIMARY KEY (key_id, token_id)
) STRICT, WITHOUT ROWID;
