"""What ``iqabench new`` writes: a plugin package that keeps its contract as it stands."""
