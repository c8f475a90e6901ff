"""What the client works with and works out: records, queries, errors, pages, batches, delays; no I/O."""
