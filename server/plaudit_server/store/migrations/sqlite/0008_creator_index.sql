-- The index of creators is asked for seldom, and every create pays for it: it is one that operators declare. Stores
-- that have records keep it, as a declared one. SQLite cannot rename an index, so it is made anew, unless the operator
-- has declared it already.
DROP INDEX feedback_by_creator;
-- Only for older stores, under the name that `index create --path creator` gives it.
CREATE INDEX IF NOT EXISTS feedback_declared_ea34155dd41aec36 ON feedback (project, creator, created_at, id);
-- Only for older stores.
INSERT INTO meta (key, value) VALUES ('index column creator', CAST('feedback_declared_ea34155dd41aec36' AS BLOB))
ON CONFLICT (key) DO UPDATE SET value = excluded.value;
