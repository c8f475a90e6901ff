"""The engine for several servers: a PostgreSQL database."""
