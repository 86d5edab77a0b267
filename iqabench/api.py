"""Everything that a plugin author needs, in one place.

What holds everywhere: an image batch is ``float32`` of shape ``(N, 3, H, W)``, RGB, in ``[0, 1]``;
a score has shape ``(N,)``, lies in ``[0, 1]`` and is better when higher; a mos is a label on the
same scale; ``eps`` is an L-infinity radius on the ``[0, 1]`` scale, so ``--eps 4`` is 4/255.
"""

from iqabench.contracts.ascent import (
    Climb,
    SignedAscent,
    Slope,
    best_of,
    keep_better,
    per_image,
    pixel_gradient,
    project,
    random_start,
    single_steps,
    value_of,
)
from iqabench.contracts.attack import (
    Access,
    AscentAttack,
    Attack,
    AttackBatch,
    ObjectiveAttack,
    Passes,
    SteppedAttack,
    ThreatModel,
)
from iqabench.contracts.backbone import IMAGENET_MEAN, IMAGENET_STD, Backbone, Role, Site
from iqabench.contracts.bridge import BridgedAttack, Offer, Value, choose, need_extra
from iqabench.contracts.certificate import Certifiable, Certificate, median_bounds
from iqabench.contracts.component import Component, state
from iqabench.contracts.dataset import (
    Dataset,
    LabelMap,
    Part,
    PublishedCount,
    Row,
    Table,
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
)
from iqabench.contracts.filters import (
    LocalFilter,
    as_jpeg,
    local_filter,
    quantised,
    smooth_jpeg,
    straight_through,
)
from iqabench.contracts.label_files import read_csv, read_headings, read_mat, read_number
from iqabench.contracts.lookup import (
    collect,
    find_file,
    find_folder,
    find_home,
    find_near,
    is_named,
    nearby,
    resolve_images,
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
from iqabench.contracts.pooled import Pooled, global_average
from iqabench.contracts.pretrained import Pretrained
from iqabench.contracts.regressor import (
    Expectation,
    Regressor,
    RegressorWrapper,
    Routed,
    scores_and_logits,
)
from iqabench.contracts.scnn import SCNN_CHANNELS, scnn_features
from iqabench.contracts.slopes import Diverse, Probed, Smoothed
from iqabench.contracts.transfer import Transferred
from iqabench.contracts.weights import load_weights, no_pickles
from iqabench.errors import DataError, IncompatibleError, WeightsError, quoted
from iqabench.ranking import entries_at_ranks, stable_order

__all__ = [
    "IMAGENET_MEAN",
    "IMAGENET_STD",
    "NETWORK",
    "OBJECTIVES",
    "SCNN_CHANNELS",
    "Access",
    "AscentAttack",
    "Attack",
    "AttackBatch",
    "Backbone",
    "Batch",
    "BridgedAttack",
    "Certifiable",
    "Certificate",
    "Climb",
    "Component",
    "DataError",
    "Dataset",
    "Defense",
    "Diverse",
    "Expectation",
    "Facts",
    "Goal",
    "IncompatibleError",
    "LabelMap",
    "LocalFilter",
    "Noise",
    "ObjectiveAttack",
    "ObjectiveName",
    "Offer",
    "Part",
    "Passes",
    "Player",
    "Pooled",
    "Pretrained",
    "Probed",
    "PublishedCount",
    "Regressor",
    "RegressorWrapper",
    "Role",
    "Routed",
    "Row",
    "SignedAscent",
    "Site",
    "Slope",
    "Smoothed",
    "Step",
    "SteppedAttack",
    "Table",
    "ThreatModel",
    "Threshold",
    "TrainState",
    "TrainStep",
    "Transferred",
    "Value",
    "WeightsError",
    "Wrapper",
    "as_jpeg",
    "best_of",
    "choose",
    "collect",
    "entries_at_ranks",
    "evaluation_mode",
    "find_file",
    "find_folder",
    "find_home",
    "find_near",
    "global_average",
    "is_named",
    "keep_better",
    "load_weights",
    "local_filter",
    "make_goal",
    "median_bounds",
    "nearby",
    "need_extra",
    "no_pickles",
    "per_image",
    "pixel_gradient",
    "project",
    "quantised",
    "quoted",
    "random_start",
    "read_csv",
    "read_headings",
    "read_mat",
    "read_number",
    "resolve_images",
    "scnn_features",
    "scores_and_logits",
    "single_steps",
    "smooth_jpeg",
    "stable_order",
    "state",
    "straight_through",
    "value_of",
]
