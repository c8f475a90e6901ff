"""What `plaudit.testing` is made of."""
