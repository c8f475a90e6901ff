"""plaudit: feedback on machine-learning objects, stored for good and queried in milliseconds."""
