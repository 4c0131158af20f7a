"""TFRecords: the file format, clips in them, and making them from annotated videos."""
