"""Filters and orders as SQL, for any engine; what differs between engines is data, see the dialect."""
