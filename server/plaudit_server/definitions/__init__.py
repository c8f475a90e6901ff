"""What feedback types mean in a project: definitions, and what they refuse."""
