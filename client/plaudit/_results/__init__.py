"""What reads return: ordered collections of records and refs, which ask no server."""
