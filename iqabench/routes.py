"""The ways to a regressor's gradient that an attacker may go."""

from __future__ import annotations

from iqabench.contracts.attack import Attack
from iqabench.contracts.regressor import Expectation, Regressor, Routed

OWN = "own"
"""The route of an attacker who takes a defense as it is: its own gradient, of one draw."""
EXPECTATION = "expectation"
"""The route through the mean over draws of a stochastic defense (EOT)."""


def routes(attack: Attack, regressor: Regressor, draws: int) -> dict[str, Regressor]:
    """Return the ways to a regressor's gradient that an attack goes, by name.

    A white-box attack takes all that a defense declares: its own gradient, the expectation over
    draws, and its surrogates with the real values. Others see the values alone.

    Args:
        attack: Its ``access`` decides.
        regressor: The defended regressor.
        draws: Passes averaged for a stochastic one.
    """
    if attack.access != "white-box":
        return {OWN: Expectation(regressor, draws=draws) if regressor.stochastic else regressor}
    return gradient_routes(regressor, draws)


def gradient_routes(regressor: Regressor, draws: int) -> dict[str, Regressor]:
    """Return every way to a regressor's gradient, by name; see ``routes``."""
    real = Expectation(regressor, draws=draws) if regressor.stochastic else regressor
    found = {OWN: regressor, **{n: Routed(real, s) for n, s in real.surrogates().items()}}
    if regressor.stochastic:
        found |= {OWN: Expectation(regressor, draws=1), EXPECTATION: real}
    return found
