-- What stands for a place of which there may be one record begins with a part of the record's ref, so that places that
-- are taken one soon after the other are neighbours in the index.
UPDATE feedback SET unique_key = substr(substr(ref, -36), 1, 13) || unique_key WHERE unique_key IS NOT NULL;
