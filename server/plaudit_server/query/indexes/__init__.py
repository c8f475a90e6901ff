"""Declared indexes: which may be declared, and which comparisons they serve; no SQL."""
