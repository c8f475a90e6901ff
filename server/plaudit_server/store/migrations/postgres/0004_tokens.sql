-- Signing keys of feedback tokens: what each may sign. The secrets are made from the server's master secret, which is
-- in no database. `projects` and `types` are JSON arrays. Rows are added and revoked, never removed.
CREATE TABLE signing_key (
  id text COLLATE "C" NOT NULL PRIMARY KEY,
  projects text COLLATE "C" NOT NULL,
  types text COLLATE "C" NOT NULL,
  max_days bigint NOT NULL,
  per_minute bigint NOT NULL,
  created_at bigint NOT NULL,
  revoked_at bigint
);

-- Feedback tokens that were ended before their time, by the id of their signing key and their own.
CREATE TABLE revoked_token (
  key_id text COLLATE "C" NOT NULL,
  token_id text COLLATE "C" NOT NULL,
  expires_at bigint NOT NULL,
  PRIMARY KEY (key_id, token_id)
);
