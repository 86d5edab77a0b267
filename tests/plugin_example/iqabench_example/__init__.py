"""An example of a plugin: nothing is imported here, so that ``iqabench list`` stays fast."""
