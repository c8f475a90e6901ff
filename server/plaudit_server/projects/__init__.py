"""Projects as callers see them, and callers as they see themselves."""
