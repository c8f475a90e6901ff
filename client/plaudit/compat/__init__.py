"""plaudit under the names of other tools, for code that was written for them: a module for each tool."""
