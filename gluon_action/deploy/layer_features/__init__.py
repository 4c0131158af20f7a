"""Features of one's own videos: what any layer of any model gives, by video or by window, as files with an index."""
