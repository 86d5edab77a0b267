"""The contract suite: what every attack, defense and data set has to keep, for plugin authors.

Each check raises ``AssertionError`` with one sentence that names the class and the broken rule; it
needs no images, no GPU and, with a small method, about a second. In a plugin's own tests::

    from iqabench.testing import check_attack

    def test_my_attack_keeps_the_contract():
        check_attack(MyAttack)

A class is checked with its defaults; an instance (``MyAttack(steps=3)``) with its own parameters,
which also makes a heavy method quick to check.
"""

from iqabench.testing.attacks import check_attack
from iqabench.testing.components import check_component
from iqabench.testing.datasets import check_dataset
from iqabench.testing.defenses import check_defense
from iqabench.testing.fixtures import (
    LinearRegressor,
    NoisyRegressor,
    PlainDefense,
    SmoothRegressor,
    frozen,
    tiny_images,
    tiny_mos,
    tiny_noise,
)
from iqabench.testing.regressors import check_regressor
from iqabench.testing.rules import BrokenRuleError

__all__ = [
    "BrokenRuleError",
    "LinearRegressor",
    "NoisyRegressor",
    "PlainDefense",
    "SmoothRegressor",
    "check_attack",
    "check_component",
    "check_dataset",
    "check_defense",
    "check_regressor",
    "frozen",
    "tiny_images",
    "tiny_mos",
    "tiny_noise",
]
