"""The command line `plaudit`. It alone of the client imports click; gRPC, rich and the client are imported in commands.

`main` assembles it; a new command is a line in `main.COMMANDS`, and a function in a module beside it.
"""
