"""Questions about many records at once: what may be asked, and what it means; not how an engine answers it."""
