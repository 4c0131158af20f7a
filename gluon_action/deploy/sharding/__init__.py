"""Long jobs in shards: parts, what joins them, and Ray."""
