"""The options of tests: written once, checked, and taken from the run whose weights are tested."""
