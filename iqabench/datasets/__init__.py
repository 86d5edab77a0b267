"""Built-in data set readers; each is found through its entry point, as a third party's is."""
