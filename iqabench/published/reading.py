"""Find, read and check a published-numbers file."""

from __future__ import annotations

import typing
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from iqabench.errors import ConfigError, UnknownNameError, did_you_mean
from iqabench.published.paper import Paper

SUFFIX = ".yaml"


class _Loader(yaml.SafeLoader):
    """Safe YAML that keeps decimal numbers as written and refuses a key that is given twice."""

    yaml_implicit_resolvers = {  # noqa: RUF012 - PyYAML's own attribute
        first: [(tag, pattern) for tag, pattern in found if not tag.endswith(":float")]
        for first, found in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """See PyYAML; a repeated key would silently win over the first."""
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        for key in keys:
            if isinstance(key, str | int) and keys.count(key) > 1:
                line = node.start_mark.line + 1
                raise yaml.YAMLError(f"the mapping at line {line} has the key {key!r} twice")
        return super().construct_mapping(node, deep)


def names() -> list[str]:
    """Return the papers that are shipped."""
    found = (item.name for item in resources.files("iqabench.published").iterdir())
    return sorted(name.removesuffix(SUFFIX) for name in found if name.endswith(SUFFIX))


def load_paper(name_or_file: str) -> Paper:
    """Return a shipped paper by its name, or one of the user's by its path.

    What ends in ``.yaml`` or ``.yml`` or holds a slash is a path.

    Raises:
        UnknownNameError: No shipped paper has that name.
        ConfigError: The file cannot be read, or breaks the format; with the place, and a
            suggestion for unknown keys and names.
    """
    path = Path(name_or_file)
    if path.suffix in (SUFFIX, ".yml") or len(path.parts) > 1:
        try:
            text = path.read_text(encoding="utf-8-sig")
        except (OSError, UnicodeDecodeError) as e:
            raise ConfigError(f"published-numbers file {path} cannot be read: {e}") from e
        return read_paper(text, str(path))
    if name_or_file not in names():
        note = " For a file of your own give its path: my-paper.yaml"
        raise UnknownNameError.of("paper", name_or_file, names(), note)
    shipped = resources.files("iqabench.published").joinpath(name_or_file + SUFFIX)
    return read_paper(shipped.read_text(encoding="utf-8"), name_or_file)


def read_paper(text: str, shown: str) -> Paper:
    """Return what a file's text says.

    Args:
        text: YAML.
        shown: What to call it in messages.

    Raises:
        ConfigError: See ``load_paper``.
    """
    try:
        document = yaml.load(text, Loader=_Loader)
    except (yaml.YAMLError, ValueError, RecursionError) as e:
        raise ConfigError(f"{shown} is no valid YAML: {' '.join(str(e).split())}") from e
    if not isinstance(document, dict):
        raise ConfigError(f"{shown} must be a mapping of keys, found {type(document).__name__}")
    try:
        return Paper.model_validate(document)
    except ValidationError as e:
        raise ConfigError(f"{shown}: {'; '.join(_explain(m) for m in _own(e.errors()))}") from e


def _own(errors: Sequence[Any]) -> list[Any]:
    """Leave out what only follows from another error: items that are wrong do not count."""
    places = [error["loc"] for error in errors]

    def follows(error: Any) -> bool:
        depth = len(error["loc"])
        inside = (place for place in places if len(place) > depth)
        return error["type"] == "too_short" and error["loc"] in (p[:depth] for p in inside)

    return [error for error in errors if not follows(error)]


def _explain(error: Any) -> str:
    place = ""
    for step in error["loc"]:
        place += f"[{step}]" if isinstance(step, int) else f".{step}" if place else str(step)
    if error["type"] == "extra_forbidden":
        known = _keys_at(error["loc"][:-1])
        return f"unknown key {place!r}.{did_you_mean(str(error['loc'][-1]), known)}"
    message = str(error["msg"]).removeprefix("Value error, ")
    message = message[0].lower() + message[1:]
    return f"{place}: {message}" if place else message


def _keys_at(loc: Sequence[Any]) -> list[str]:
    """Return the keys that the format knows at a place."""
    kind: Any = Paper
    for step in loc:
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            kind = kind.model_fields[str(step)].annotation
        else:  # a step into a mapping or a list
            kind = next(a for a in reversed(typing.get_args(kind)) if a is not Ellipsis)
    return [field.alias or name for name, field in kind.model_fields.items()]
