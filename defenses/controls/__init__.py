"""Controls of the audit: defenses whose robustness is known to be real, or known to be a mask.

They are found by name like defenses, listed apart, and the masks break contracts on purpose.
"""
