"""Features of YouTube-8M's formats in TFRecords: what a record holds, and what it came through."""
