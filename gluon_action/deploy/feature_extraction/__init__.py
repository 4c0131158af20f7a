"""Features of a user's own videos, as records."""
