"""The ports for operators."""
