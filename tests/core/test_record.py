"""Records behave as frozen, slotted dataclasses do."""

from __future__ import annotations

from dataclasses import KW_ONLY, FrozenInstanceError, asdict, dataclass, field, fields, replace
from typing import Any

import pytest

from backend.core.record import record


@record
class Sample:
    """As rows and declarations are written."""

    pid: int
    name: str = "none"
    _: KW_ONLY
    tags: list[str] = field(default_factory=list)
    size: int = 0

    @property
    def label(self) -> str:
        """A property beside the fields."""
        return f"{self.pid} {self.name}"


@dataclass(frozen=True, slots=True)
class Ordinary:
    """The same, by the standard decorator."""

    pid: int
    name: str = "none"
    _: KW_ONLY
    tags: list[str] = field(default_factory=list)
    size: int = 0


ARGUMENTS: list[tuple[tuple[Any, ...], dict[str, Any]]] = [
    ((1,), {}),
    ((1, "a"), {"size": 3}),
    ((), {"pid": 2, "tags": ["x"]}),
]


@pytest.mark.parametrize(("args", "kwargs"), ARGUMENTS)
def test_it_is_made_shown_and_taken_apart_as_a_dataclass(
    args: tuple[Any, ...], kwargs: dict[str, Any]
) -> None:
    ours, theirs = Sample(*args, **kwargs), Ordinary(*args, **kwargs)
    assert asdict(ours) == asdict(theirs)
    assert repr(ours) == repr(theirs).replace("Ordinary", "Sample")
    assert [f.name for f in fields(ours)] == ["pid", "name", "tags", "size"]


@pytest.mark.parametrize(("args", "kwargs"), [((), {}), ((1, "a", []), {}), ((1,), {"colour": "red"})])
def test_it_refuses_what_a_dataclass_refuses(args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    for kind in (Ordinary, Sample):
        with pytest.raises(TypeError, match="__init__"):
            kind(*args, **kwargs)


def test_it_cannot_be_changed_and_holds_nothing_else() -> None:
    sample = Sample(1)
    with pytest.raises(FrozenInstanceError):
        sample.pid = 2  # type: ignore[misc]
    with pytest.raises(FrozenInstanceError):
        delattr(sample, "pid")
    assert not hasattr(sample, "__dict__") and sample.label == "1 none"


def test_equal_ones_are_equal_only_to_their_own_kind() -> None:
    assert Sample(1) == Sample(1) != Sample(2)
    other: object = Ordinary(1)
    assert Sample(1) != other
    assert Sample(1).tags is not Sample(1).tags


def test_a_changed_copy_and_a_key_of_a_dict() -> None:
    key = Part(1, "a")
    assert replace(key, name="b") == Part(1, "b")
    assert {key: 1}[Part(1, "a")] == 1


@record
class Part:
    """Hashable through and through, and checked when it is made."""

    pid: int
    name: str

    def __post_init__(self) -> None:
        if self.pid < 0:
            raise ValueError(self.pid)


def test_it_can_check_what_it_is_made_of() -> None:
    with pytest.raises(ValueError, match="-1"):
        Part(-1, "a")


@record
class Longer(Part):
    """With a field more."""

    size: int = 3


def test_one_of_a_kind_that_has_more_fields() -> None:
    Part(1, "a")
    assert (Longer(1, "a", 2).size, Longer(1, "a").size) == (2, 3)
    assert Longer(1, "a") != Part(1, "a")
