"""The query language: fields, parsing to a tree, compilation to SQL, and a plain oracle."""
