"""Tables of records and of groups, column by column; `plaudit.frames` is the door to it."""
