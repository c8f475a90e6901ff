"""Declared indexes: which there may be, and what they serve; what is here knows no SQL."""
