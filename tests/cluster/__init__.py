"""A campaign on a real Citus cluster, see `make test-citus`; not part of `make test`, since none can be installed."""
