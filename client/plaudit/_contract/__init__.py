"""What client and server share and must agree on: refs, limits, JSON text, ids; pure, no I/O."""
