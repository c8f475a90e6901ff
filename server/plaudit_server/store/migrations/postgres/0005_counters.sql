-- How many records of a type a project has that were created on a day, which is a number of days (UTC) since 1970.
CREATE TABLE feedback_count (
  project text COLLATE "C" NOT NULL,
  feedback_type text COLLATE "C" NOT NULL,
  day bigint NOT NULL,
  records bigint NOT NULL,
  PRIMARY KEY (project, feedback_type, day)
);

INSERT INTO feedback_count (project, feedback_type, day, records)
SELECT project, feedback_type, day, count(*) FROM (
  SELECT project, feedback_type,
    CASE WHEN created_at >= 0 THEN created_at / 86400000000 ELSE -((86399999999 - created_at) / 86400000000) END AS day
  FROM feedback
) AS dated GROUP BY project, feedback_type, day;

-- The revision up to which they count: another one than the project's after a server has written that counts nothing.
ALTER TABLE project ADD COLUMN counted bigint NOT NULL DEFAULT 0;
UPDATE project SET counted = revision;
