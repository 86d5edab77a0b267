"""What is concluded from per-image scores: differences, ranks, areas, damage. No torch, no files.

docs/statistics.md says in words what each number means and what its interval covers.
"""
