"""What all tables of the configuration have in common.

Knows how a table is checked and how it complains; does not know any setting.
"""

from collections.abc import Iterable
from itertools import pairwise
from typing import Annotated, TypeAlias

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
)
from pydantic_core import InitErrorDetails, PydanticCustomError

KeyPath: TypeAlias = tuple[str | int, ...]
"""The keys that lead to a setting, like ``("servers", 0, "listen")``."""


class Section(BaseModel):
    """One table: nothing unknown is taken, nothing changes later, no error repeats its input."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, hide_input_in_errors=True, validate_default=True
    )


def faults(found: Iterable[tuple[KeyPath, str]]) -> ValidationError:
    """Make one exception of several messages, each at its key below the validated table.

    pydantic adds the path of the table itself where the exception leaves a validator.
    """
    return ValidationError.from_exception_data(
        "settings",
        [
            InitErrorDetails(type=PydanticCustomError("fault", message), loc=path, input=None)
            for path, message in found
        ],
    )


def check_bounds(bounds: tuple[float, ...]) -> tuple[float, ...]:
    """Return the upper bounds of a histogram; ValueError where they are none."""
    ascending = all(low < high for low, high in pairwise((0.0, *bounds, float("inf"))))
    if not bounds or not ascending:
        raise ValueError("must be positive numbers, each larger than the one before")
    return bounds


def _check_number(value: object) -> object:
    # Python counts true as 1, and so would a timeout. A text may be a number that somebody put in
    # quotation marks, or anything else that belongs elsewhere.
    if isinstance(value, bool | str):
        raise ValueError("must be a number")  # noqa: TRY004  # pydantic reports ValueError only
    return value


def _check_flag(value: object) -> object:
    if not isinstance(value, bool):
        raise ValueError("must be true or false")  # noqa: TRY004  # as above
    return value


Number = Annotated[float, BeforeValidator(_check_number), Field(allow_inf_nan=False)]
Integer = Annotated[int, BeforeValidator(_check_number)]
Flag = Annotated[bool, BeforeValidator(_check_flag)]
Bounds = Annotated[tuple[Number, ...], AfterValidator(check_bounds)]
"""Upper bounds of a histogram; ``+Inf`` is added."""
