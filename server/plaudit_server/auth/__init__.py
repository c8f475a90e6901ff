"""Who calls, and what they may do: credentials of three kinds, and the table of rights."""
