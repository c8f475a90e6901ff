"""Feedback tokens of a product's end users, and what may be done with one."""
