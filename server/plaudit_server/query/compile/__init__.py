"""Filters and orders to SQL, for any engine: what differs between engines is data, see the dialect."""
