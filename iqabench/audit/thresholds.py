"""Every number that a verdict depends on, with where it comes from."""

from __future__ import annotations

CLEAN_SIGNAL = 0.3
"""Lower bound of clean SROCC below which there is nothing to defend (DESIGN section 9, rule 1)."""
DELTA = 0.1
"""SROCC that a defense must keep beyond its sibling to count as robust (rules 2 to 4): as much as
an attack must take from the reference on the leaderboard."""
TAKEN = 0.5
"""Share of what a defense seems to keep that an adaptive suite may take (rule 3)."""
CONVERGED = 0.005
"""Mean damage in score that doubling the steps may add (rule 4; T8)."""
MARGIN = 0.005
"""Damage in score by which one attack must beat another on an image to count (T1, T2, T4)."""
SHARE = 0.05
"""Share of images on which the wrong attack may win (METHODS 7.3: T2; T1 and T4 likewise)."""
EXTRA = 0.02
"""Mean damage in score by which the wrong attack may win (T9, T10), and that may be lost when eps
grows (T3)."""
LINEAR = 0.25
"""Share of the predicted change that a step of a quarter grey level must bring about, and whose
inverse it must not exceed (T5)."""
AGREES = 0.5
"""A finite difference must be between this share of the gradient's slope and its inverse (T7)."""
REPEATS = 1e-5
"""Difference of two scores of the same image below which they are the same (T11)."""
