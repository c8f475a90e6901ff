"""Exports: the records of a query as a file that holds one state of the project; nothing here asks a server itself."""
