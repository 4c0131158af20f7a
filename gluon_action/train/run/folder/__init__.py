"""The folder of a run: what is kept in it, and whose it is."""
