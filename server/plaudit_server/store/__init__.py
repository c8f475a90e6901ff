"""Where rows are kept: one interface, one suite of tests, several engines; it knows no resource."""
