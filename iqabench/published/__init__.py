"""Numbers that papers published, one file per paper, and the reader for files of your own."""
