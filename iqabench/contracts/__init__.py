"""The contracts between the harness and its methods; plugins import them from ``iqabench.api``."""
