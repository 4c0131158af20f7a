"""Networks of features, one file a family."""
