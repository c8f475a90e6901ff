-- The index of creators is asked for seldom, and every create pays for it: it is one that operators declare. Stores
-- that have records keep it, as a declared one.
-- Only for new stores.
DROP INDEX feedback_by_creator;
-- Only for older stores, whose operator may have declared it a second time.
DROP INDEX IF EXISTS feedback_declared_ea34155dd41aec36;
-- Only for older stores, under the name that `index create --path creator` gives it.
ALTER INDEX feedback_by_creator RENAME TO feedback_declared_ea34155dd41aec36;
-- Only for older stores.
INSERT INTO meta (key, value) VALUES ('index column creator', 'feedback_declared_ea34155dd41aec36')
ON CONFLICT (key) DO UPDATE SET value = excluded.value;
