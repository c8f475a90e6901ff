-- How many records of a type a project has that were created on a day, which is a number of days (UTC) since 1970.
CREATE TABLE feedback_count (
  project TEXT NOT NULL,
  feedback_type TEXT NOT NULL,
  day INTEGER NOT NULL,
  records INTEGER NOT NULL,
  PRIMARY KEY (project, feedback_type, day)
) STRICT, WITHOUT ROWID;

INSERT INTO feedback_count (project, feedback_type, day, records)
SELECT project, feedback_type, day, count(*) FROM (
  SELECT project, feedback_type,
    CASE WHEN created_at >= 0 THEN created_at / 86400000000 ELSE -((86399999999 - created_at) / 86400000000) END AS day
  FROM feedback
) AS dated GROUP BY project, feedback_type, day;

-- The revision up to which they count: another one than the project's after a server has written that counts nothing.
ALTER TABLE project ADD COLUMN counted INTEGER NOT NULL DEFAULT 0;
UPDATE project SET counted = revision;
