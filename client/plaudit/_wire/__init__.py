"""How requests reach a server and answers come back: everything of the client that calls gRPC."""
