"""Worker processes that read samples ahead."""
