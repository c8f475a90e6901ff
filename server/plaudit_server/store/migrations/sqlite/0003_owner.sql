-- Every record has an owner: the principal that stored version 1. It is a column, and in `head`, as field 29 at its
-- beginning: after the tag of the record (0A) and the length of its fields, which grows by that of the new one.

ALTER TABLE feedback ADD COLUMN owner TEXT;
ALTER TABLE feedback_history ADD COLUMN owner TEXT;

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
  SELECT CAST(X'0A' || unhex(CASE
      WHEN size < 128 THEN printf('%02X', size)
      WHEN size < 16384 THEN printf('%02X%02X', size & 127 | 128, size >> 7)
      WHEN size < 2097152 THEN printf('%02X%02X%02X', size & 127 | 128, size >> 7 & 127 | 128, size >> 14)
      ELSE printf('%02X%02X%02X%02X', size & 127 | 128, size >> 7 & 127 | 128, size >> 14 & 127 | 128, size >> 21)
    END) || field || substr(head, 2 + bytes) AS BLOB)
  FROM (
    SELECT bytes, field, length(field) + CASE bytes
        WHEN 1 THEN b1
        WHEN 2 THEN (b1 & 127) + (b2 << 7)
        WHEN 3 THEN (b1 & 127) + ((b2 & 127) << 7) + (b3 << 14)
        ELSE (b1 & 127) + ((b2 & 127) << 7) + ((b3 & 127) << 14) + (b4 << 21)
      END AS size
    FROM (
      SELECT b1, b2, b3, b4, CASE WHEN b1 < 128 THEN 1 WHEN b2 < 128 THEN 2 WHEN b3 < 128 THEN 3 ELSE 4 END AS bytes,
        CAST(X'EA01' || unhex(CASE WHEN octets < 128 THEN printf('%02X', octets)
          ELSE printf('%02X%02X', octets & 127 | 128, octets >> 7) END) || CAST(owner AS BLOB) AS BLOB) AS field
      FROM (
        SELECT octet_length(owner) AS octets,
          (instr(d, substr(h, 1, 1)) - 1) * 16 + instr(d, substr(h, 2, 1)) - 1 AS b1,
          (instr(d, substr(h, 3, 1)) - 1) * 16 + instr(d, substr(h, 4, 1)) - 1 AS b2,
          (instr(d, substr(h, 5, 1)) - 1) * 16 + instr(d, substr(h, 6, 1)) - 1 AS b3,
          (instr(d, substr(h, 7, 1)) - 1) * 16 + instr(d, substr(h, 8, 1)) - 1 AS b4
        FROM (SELECT hex(substr(head, 2, 4)) AS h, '0123456789ABCDEF' AS d)
      )
    )
  )
);

UPDATE feedback_history SET head = (
  SELECT CAST(X'0A' || unhex(CASE
      WHEN size < 128 THEN printf('%02X', size)
      WHEN size < 16384 THEN printf('%02X%02X', size & 127 | 128, size >> 7)
      WHEN size < 2097152 THEN printf('%02X%02X%02X', size & 127 | 128, size >> 7 & 127 | 128, size >> 14)
      ELSE printf('%02X%02X%02X%02X', size & 127 | 128, size >> 7 & 127 | 128, size >> 14 & 127 | 128, size >> 21)
    END) || field || substr(head, 2 + bytes) AS BLOB)
  FROM (
    SELECT bytes, field, length(field) + CASE bytes
        WHEN 1 THEN b1
        WHEN 2 THEN (b1 & 127) + (b2 << 7)
        WHEN 3 THEN (b1 & 127) + ((b2 & 127) << 7) + (b3 << 14)
        ELSE (b1 & 127) + ((b2 & 127) << 7) + ((b3 & 127) << 14) + (b4 << 21)
      END AS size
    FROM (
      SELECT b1, b2, b3, b4, CASE WHEN b1 < 128 THEN 1 WHEN b2 < 128 THEN 2 WHEN b3 < 128 THEN 3 ELSE 4 END AS bytes,
        CAST(X'EA01' || unhex(CASE WHEN octets < 128 THEN printf('%02X', octets)
          ELSE printf('%02X%02X', octets & 127 | 128, octets >> 7) END) || CAST(owner AS BLOB) AS BLOB) AS field
      FROM (
        SELECT octet_length(owner) AS octets,
          (instr(d, substr(h, 1, 1)) - 1) * 16 + instr(d, substr(h, 2, 1)) - 1 AS b1,
          (instr(d, substr(h, 3, 1)) - 1) * 16 + instr(d, substr(h, 4, 1)) - 1 AS b2,
          (instr(d, substr(h, 5, 1)) - 1) * 16 + instr(d, substr(h, 6, 1)) - 1 AS b3,
          (instr(d, substr(h, 7, 1)) - 1) * 16 + instr(d, substr(h, 8, 1)) - 1 AS b4
        FROM (SELECT hex(substr(head, 2, 4)) AS h, '0123456789ABCDEF' AS d)
      )
    )
  )
) WHERE version > 0;
