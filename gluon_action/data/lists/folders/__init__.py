"""Files and folders: which of them are videos, those of each class, and where a list's videos lie."""
