"""What differs between the SQL engines, as data: placeholders, casts, JSON access."""
