"""What every part of the settings is: frozen, checked, and documented by the text under each field."""

from pydantic import BaseModel, ConfigDict


class Settings(BaseModel):
    """One flat section of the tree."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)
