"""What every part of the settings is: frozen, checked, and documented by the text under each field."""

from dataclasses import dataclass

from pydantic import AfterValidator, BaseModel, ConfigDict
from pydantic_core import PydanticCustomError

from bleep import registry


@dataclass(frozen=True, slots=True)
class KnownName:
    """Checks a choice by name: one of bleep's own, or of a part that another package brings."""

    kind: registry.KindName
    own: tuple[str, ...]

    def __call__(self, name: str) -> str:
        if name not in self.own and name not in registry.names(self.kind):
            *most, last = [repr(one) for one in self.all()]
            raise PydanticCustomError("unknown_name", "Input should be {there}", {"there": f"{', '.join(most)} or {last}"})
        return name

    def all(self) -> tuple[str, ...]:
        """Return the names there are."""
        return *self.own, *registry.names(self.kind)


def known(kind: registry.KindName, own: tuple[str, ...]) -> AfterValidator:
    """Return what a field of a choice by name is annotated with."""
    return AfterValidator(KnownName(kind, own))


class Settings(BaseModel):
    """One flat section of the tree."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)
