"""plaudit for agents, by the Model Context Protocol; private, for the command `plaudit mcp`."""
