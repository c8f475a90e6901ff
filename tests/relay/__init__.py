"""The relay: changes to a webhook or a command, at least once and in order, through kills and failures."""
