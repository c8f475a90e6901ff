-- Every record has an owner: the principal that stored version 1. It is a column, and in `head`, as field 29 at its
-- beginning: after the tag of the record (0A) and the length of its fields, which grows by that of the new one.
-- The column may be null: servers of the version before go on meanwhile, and write none.

ALTER TABLE feedback ADD COLUMN owner text COLLATE "C";
ALTER TABLE feedback_history ADD COLUMN owner text COLLATE "C";

UPDATE feedback SET owner = coalesce(
  (SELECT first.user_id FROM feedback_history AS first
   WHERE first.project = feedback.project AND first.id = feedback.id ORDER BY first.version LIMIT 1),
  user_id
);

-- A tombstone, version 0, has none.
UPDATE feedback_history SET owner = (
  SELECT first.user_id FROM feedback_history AS first
  WHERE first.project = feedback_history.project AND first.id = feedback_history.id ORDER BY first.version LIMIT 1
) WHERE version > 0;

UPDATE feedback SET head = (
  SELECT '\x0a'::bytea || CASE
      WHEN size < 128 THEN set_byte('\x00'::bytea, 0, size)
      WHEN size < 16384 THEN set_byte(set_byte('\x0000'::bytea, 0, size & 127 | 128), 1, size >> 7)
      WHEN size < 2097152 THEN
        set_byte(set_byte(set_byte('\x000000'::bytea, 0, size & 127 | 128), 1, (size >> 7) & 127 | 128), 2, size >> 14)
      ELSE set_byte(set_byte(set_byte(set_byte('\x00000000'::bytea, 0, size & 127 | 128), 1, (size >> 7) & 127 | 128),
        2, (size >> 14) & 127 | 128), 3, size >> 21)
    END || field || substr(head, 2 + bytes)
  FROM (
    SELECT bytes, field, length(field) + CASE bytes
        WHEN 1 THEN b1
        WHEN 2 THEN (b1 & 127) + (b2 << 7)
        WHEN 3 THEN (b1 & 127) + ((b2 & 127) << 7) + (b3 << 14)
        ELSE (b1 & 127) + ((b2 & 127) << 7) + ((b3 & 127) << 14) + (b4 << 21)
      END AS size
    FROM (
      SELECT b1, b2, b3, b4, CASE WHEN b1 < 128 THEN 1 WHEN b2 < 128 THEN 2 WHEN b3 < 128 THEN 3 ELSE 4 END AS bytes,
        '\xea01'::bytea || CASE WHEN octets < 128 THEN set_byte('\x00'::bytea, 0, octets)
          ELSE set_byte(set_byte('\x0000'::bytea, 0, octets & 127 | 128), 1, octets >> 7) END
          || convert_to(owner, 'UTF8') AS field
      FROM (
        SELECT octet_length(convert_to(owner, 'UTF8')) AS octets, get_byte(head, 1) AS b1, get_byte(head, 2) AS b2,
          get_byte(head, 3) AS b3, get_byte(head, 4) AS b4
      ) AS read
    ) AS made
  ) AS sized
);

UPDATE feedback_history SET head = (
  SELECT '\x0a'::bytea || CASE
      WHEN size < 128 THEN set_byte('\x00'::bytea, 0, size)
      WHEN size < 16384 THEN set_byte(set_byte('\x0000'::bytea, 0, size & 127 | 128), 1, size >> 7)
      WHEN size < 2097152 THEN
        set_byte(set_byte(set_byte('\x000000'::bytea, 0, size & 127 | 128), 1, (size >> 7) & 127 | 128), 2, size >> 14)
      ELSE set_byte(set_byte(set_byte(set_byte('\x00000000'::bytea, 0, size & 127 | 128), 1, (size >> 7) & 127 | 128),
        2, (size >> 14) & 127 | 128), 3, size >> 21)
    END || field || substr(head, 2 + bytes)
  FROM (
    SELECT bytes, field, length(field) + CASE bytes
        WHEN 1 THEN b1
        WHEN 2 THEN (b1 & 127) + (b2 << 7)
        WHEN 3 THEN (b1 & 127) + ((b2 & 127) << 7) + (b3 << 14)
        ELSE (b1 & 127) + ((b2 & 127) << 7) + ((b3 & 127) << 14) + (b4 << 21)
      END AS size
    FROM (
      SELECT b1, b2, b3, b4, CASE WHEN b1 < 128 THEN 1 WHEN b2 < 128 THEN 2 WHEN b3 < 128 THEN 3 ELSE 4 END AS bytes,
        '\xea01'::bytea || CASE WHEN octets < 128 THEN set_byte('\x00'::bytea, 0, octets)
          ELSE set_byte(set_byte('\x0000'::bytea, 0, octets & 127 | 128), 1, octets >> 7) END
          || convert_to(owner, 'UTF8') AS field
      FROM (
        SELECT octet_length(convert_to(owner, 'UTF8')) AS octets, get_byte(head, 1) AS b1, get_byte(head, 2) AS b2,
          get_byte(head, 3) AS b3, get_byte(head, 4) AS b4
      ) AS read
    ) AS made
  ) AS sized
) WHERE version > 0;
