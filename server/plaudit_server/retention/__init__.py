"""How long records are kept: rules by type and age, their removal in slices, and legal holds, which stop all of it."""
