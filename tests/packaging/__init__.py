"""The repository itself: stubs, wheel, documents, examples, and what must not be in a public tree."""
