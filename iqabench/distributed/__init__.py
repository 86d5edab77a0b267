"""One run on many workers: the same cells, the same files, written by one process."""
