"""Where feedback is kept: one interface, one suite of tests, several engines."""
