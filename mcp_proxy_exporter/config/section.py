"""What all tables of the configuration have in common.

Knows how a table is checked and how it complains; does not know any setting.
"""

from collections.abc import Iterable
from typing import Annotated, TypeAlias

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
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


def _refuse_bool(value: object) -> object:
    # Python counts true as 1, and so would a timeout.
    if isinstance(value, bool):
        raise ValueError("must be a number")  # noqa: TRY004  # pydantic reports ValueError only
    return value


Number = Annotated[float, BeforeValidator(_refuse_bool), Field(allow_inf_nan=False)]
Integer = Annotated[int, BeforeValidator(_refuse_bool)]
