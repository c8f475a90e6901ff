"""Importers of other systems: what comes in goes out again equal, which proves that nothing was lost."""
