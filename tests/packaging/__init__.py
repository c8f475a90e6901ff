"""The house: stubs, wheel, documents, examples, and what may not be in a public tree."""
