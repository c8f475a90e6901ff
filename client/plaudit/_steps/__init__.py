"""What each operation asks the server and makes of the answers, once for both clients; no I/O."""
