"""A resource that is not shipped: it shows what adding one takes, and that everything around calls serves it."""
