"""Generated videos that everything can be tried on."""
