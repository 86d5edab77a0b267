"""The format of a published-numbers file; ``docs/comparing.md`` explains it for authors."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    model_validator,
)
from typing_extensions import Self

from iqabench.errors import did_you_mean
from iqabench.published.patterns import check_pattern

Ours = Literal["srocc", "plcc", "plcc_logistic", "krocc", "mse", "rmse"]
"""Metrics that a paper's can be mapped to; ``plcc_logistic`` is PLCC after a logistic mapping."""
ERRORS = ("mse", "rmse")
"""Metrics that are no correlations."""
Name = Annotated[str, BeforeValidator(lambda v: str(v) if isinstance(v, int) else v)]
Pattern = Annotated[str, AfterValidator(check_pattern)]
Patterns = Annotated[
    tuple[Pattern, ...],
    Field(min_length=1),
    BeforeValidator(lambda v: v if isinstance(v, list | tuple) else [v]),
]


class Strict(BaseModel):
    """Refuses keys that it does not know."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class RecipeFacts(Strict):
    """What a paper says about training and image size; None where it says nothing.

    The fields are those of a training recipe (``iqabench.recipes.Recipe``).
    """

    resize: int | None = None
    crop: int | None = None
    flip: bool | None = None
    batch_size: int | None = None
    epochs: int | None = None
    lr: float | None = None
    weight_decay: float | None = None
    schedule: str | None = None

    def over(self, other: RecipeFacts) -> RecipeFacts:
        """Return these facts, and ``other``'s where these say nothing."""
        return RecipeFacts(
            **{**other.model_dump(exclude_none=True), **self.model_dump(exclude_none=True)}
        )


class PublishedDataset(Strict):
    """A data set by the paper's name.

    Attributes:
        dataset: Ours.
        split: How ours is split where it is split as there: the beginning of a split's origin,
            such as ``4:1 by scene`` or ``official``; None where the paper does not say.
        note: What a reader must know beside its numbers.
    """

    dataset: Pattern
    split: str | None = None
    note: str = ""


class PublishedAttack(Strict):
    """An attack by the paper's name.

    Attributes:
        attack: Ours, or several where the paper may mean any of them; ``clean`` for none.
        eps_255: L-infinity radius in grey levels; None for ``clean`` alone.
        note: What a reader must know beside its numbers.
    """

    attack: Patterns
    eps_255: float | None = Field(default=None, ge=0, le=255, allow_inf_nan=False)
    note: str = ""

    @model_validator(mode="after")
    def _has_a_radius(self) -> Self:
        if (self.attack == ("clean",)) != (self.eps_255 is None):
            raise ValueError("an attack needs eps_255, in grey levels, and 'clean' has none")
        return self


class PublishedMethod(Strict):
    """A method by the paper's name.

    Attributes:
        defense: Ours, or several where the paper may mean any of them.
        backbone: Its network; None where the paper does not say.
        note: What a reader must know beside its numbers.
    """

    defense: Patterns
    backbone: str | None = None
    note: str = ""


Values = tuple[Decimal | None, ...]


class PublishedTable(Strict):
    """One table: rows are methods; columns are data sets or attacks, and the other one is fixed.

    Attributes:
        table: Its number in the paper.
        page: Its page there; None if not noted.
        title: What it shows.
        attack: The attack, if columns are data sets.
        dataset: The data set, if columns are attacks.
        metrics: The paper's names, in the order of the values.
        recipe: What differs from the paper's recipe in this table.
        cells: Values by row and column; None where the paper has none.
    """

    table: Name
    page: int | None = None
    title: str = ""
    attack: str | None = None
    dataset: str | None = None
    metrics: tuple[str, ...] = Field(min_length=1)
    recipe: RecipeFacts = RecipeFacts()
    cells: dict[str, dict[str, Values]] = Field(min_length=1)

    @model_validator(mode="after")
    def _one_is_fixed(self) -> Self:
        if (self.attack is None) == (self.dataset is None):
            raise ValueError("give either attack (columns are data sets) or dataset (attacks)")
        return self


@dataclass(frozen=True)
class Place:
    """Where published values stand: a row and a column of a table.

    Attributes:
        table: The table.
        method: The paper's name of the method.
        dataset: Its name of the data set.
        attack: Its name of the attack.
        values: By its name of the metric, in the order of the table.
    """

    table: PublishedTable
    method: str
    dataset: str
    attack: str
    values: Mapping[str, Decimal]


class Paper(Strict):
    """A published-numbers file.

    Attributes:
        schema_: 1.
        name: Names the output file.
        title: Of the paper.
        source: Where to read it.
        notes: What a reader must know beside all numbers.
        metrics: Ours by the paper's name.
        recipe: How networks were trained; tables may say what differs.
        pretrained: Whether training started from ImageNet weights; None if the paper does not say.
        datasets: By the paper's names.
        attacks: By the paper's names.
        methods: By the paper's names.
        tables: The numbers.
    """

    schema_: Literal[1] = Field(alias="schema")
    name: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]*$")
    title: str
    source: str
    notes: tuple[str, ...] = ()
    metrics: dict[str, Ours]
    recipe: RecipeFacts = RecipeFacts()
    pretrained: bool | None = None
    datasets: dict[str, PublishedDataset]
    attacks: dict[str, PublishedAttack]
    methods: dict[str, PublishedMethod]
    tables: tuple[PublishedTable, ...] = Field(min_length=1)

    def places(self) -> Iterator[Place]:
        """Yield every row and column with its values, in the order of the file."""
        for table in self.tables:
            for method, columns in table.cells.items():
                for column, values in columns.items():
                    pairs = zip(table.metrics, values, strict=True)
                    yield Place(
                        table,
                        method,
                        table.dataset or column,
                        table.attack or column,
                        {metric: value for metric, value in pairs if value is not None},
                    )

    def recipe_of(self, table: PublishedTable) -> RecipeFacts:
        """Return what is known about the training behind a table."""
        return table.recipe.over(self.recipe)

    @model_validator(mode="after")
    def _names_are_known(self) -> Self:
        for number, table in enumerate(self.tables):
            for problem in self._problems(table):
                raise ValueError(f"tables[{number}].{problem}")
        return self

    def _problems(self, table: PublishedTable) -> Iterator[str]:
        columns: Mapping[str, object] = self.datasets if table.attack else self.attacks
        kind = "data set" if table.attack else "attack"
        yield from _unknown("attack", "attack", table.attack, self.attacks)
        yield from _unknown("dataset", "data set", table.dataset, self.datasets)
        for metric in table.metrics:
            yield from _unknown("metrics", "metric", metric, self.metrics)
        for row, cells in table.cells.items():
            yield from _unknown("cells", "method", row, self.methods)
            for column, values in cells.items():
                yield from _unknown(f"cells.{row}", kind, column, columns)
                yield from self._bad_values(table, values, f"cells.{row}.{column}")

    def _bad_values(self, table: PublishedTable, values: Values, where: str) -> Iterator[str]:
        if len(values) != len(table.metrics):
            yield f"{where}: {len(values)} values for {len(table.metrics)} metrics"
        for metric, value in zip(table.metrics, values, strict=False):
            low, high = (0, None) if self.metrics[metric] in ERRORS else (-1, 1)
            if value is not None and (value < low or (high is not None and value > high)):
                yield f"{where}: {metric} cannot be {value}"


def _unknown(where: str, kind: str, name: str | None, known: Mapping[str, object]) -> Iterator[str]:
    if name is not None and name not in known:
        yield f"{where}: unknown {kind} {name!r}.{did_you_mean(name, known)}"
