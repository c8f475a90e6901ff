"""The HTTP port: Connect, gRPC-Web and JSON over HTTP/1.1, spoken around the handlers that gRPC uses."""
