"""Everything that a plugin author needs, in one place.

What holds everywhere: an image batch is ``float32`` of shape ``(N, 3, H, W)``, RGB, in ``[0, 1]``;
a score has shape ``(N,)``, lies in ``[0, 1]`` and is better when higher; a mos is a label on the
same scale; ``eps`` is an L-infinity radius on the ``[0, 1]`` scale, so ``--eps 4`` is 4/255.
"""

from iqabench.contracts.ascent import (
    Climb,
    SignedAscent,
    keep_better,
    pixel_gradient,
    project,
    random_start,
    single_steps,
)
from iqabench.contracts.attack import (
    Access,
    Attack,
    AttackBatch,
    ObjectiveAttack,
    Passes,
    ThreatModel,
)
from iqabench.contracts.backbone import Backbone, Role, Site
from iqabench.contracts.component import Component, state
from iqabench.contracts.dataset import (
    Dataset,
    LabelMap,
    Part,
    PublishedCount,
    Row,
    Table,
    find_file,
    find_folder,
    read_csv,
    read_mat,
    read_number,
    resolve_images,
)
from iqabench.contracts.defense import (
    NETWORK,
    Batch,
    Defense,
    Player,
    Step,
    TrainState,
    TrainStep,
    Wrapper,
    evaluation_mode,
    global_average,
)
from iqabench.contracts.noise import Noise
from iqabench.contracts.objective import (
    OBJECTIVES,
    Facts,
    Goal,
    ObjectiveName,
    Threshold,
    make_goal,
)
from iqabench.contracts.regressor import (
    Expectation,
    Regressor,
    RegressorWrapper,
    scores_and_logits,
)
from iqabench.errors import DataError, IncompatibleError
from iqabench.ranking import stable_order

__all__ = [
    "NETWORK",
    "OBJECTIVES",
    "Access",
    "Attack",
    "AttackBatch",
    "Backbone",
    "Batch",
    "Climb",
    "Component",
    "DataError",
    "Dataset",
    "Defense",
    "Expectation",
    "Facts",
    "Goal",
    "IncompatibleError",
    "LabelMap",
    "Noise",
    "ObjectiveAttack",
    "ObjectiveName",
    "Part",
    "Passes",
    "Player",
    "PublishedCount",
    "Regressor",
    "RegressorWrapper",
    "Role",
    "Row",
    "SignedAscent",
    "Site",
    "Step",
    "Table",
    "ThreatModel",
    "Threshold",
    "TrainState",
    "TrainStep",
    "Wrapper",
    "evaluation_mode",
    "find_file",
    "find_folder",
    "global_average",
    "keep_better",
    "make_goal",
    "pixel_gradient",
    "project",
    "random_start",
    "read_csv",
    "read_mat",
    "read_number",
    "resolve_images",
    "scores_and_logits",
    "single_steps",
    "stable_order",
    "state",
]
