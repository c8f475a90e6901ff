"""Feedback, the first resource: its RPCs, rules, records, commands, reads and streams."""
