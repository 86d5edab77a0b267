"""Tables, curves and pages made from result files, installed as ``iqabench.leaderboard``."""

if __name__ != "iqabench.leaderboard":
    raise ImportError(f"import 'iqabench.leaderboard', not {__name__!r} (docs/layout.md)")
