"""Tables and progress bars of what the client returns, in a terminal and in a notebook."""
