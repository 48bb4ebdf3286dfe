"""What a variable of a container's environment may hold: a text, or a reference to something whose value people never write down."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidatorFunctionWrapHandler,
    WrapValidator,
)

from lattice.contracts.nouns import Name
from lattice.contracts.spec_model import SpecModel

_ENV_NAME = r"^[A-Za-z_][A-Za-z0-9_]{0,127}$(?!\n)"


def no_nul(text: str) -> str:
    """The text, which may hold no NUL byte: the kernel ends arguments and variables with one."""
    if "\x00" in text:
        raise ValueError("a NUL byte cannot stand in an argument or a variable")
    return text


EnvName = Annotated[str, Field(pattern=_ENV_NAME)]
Text = Annotated[str, Field(max_length=32_768), AfterValidator(no_nul)]
_TEXT: TypeAdapter[str] = TypeAdapter(Text)


class CredentialKey(StrEnum):
    """A part of a workload's credentials."""

    URI = "uri"
    HOST = "host"
    PORT = "port"
    USERNAME = "username"
    PASSWORD = "password"
    DATABASE = "database"
    CA = "ca"


class SecretRef(SpecModel):
    """Where an environment variable's secret value comes from."""

    from_: Name = Field(alias="from")

    model_config = ConfigDict(populate_by_name=True, serialize_by_alias=True)


class CredentialRef(SpecModel):
    """A part of the credentials of another workload of the project; in an app, of another service of it."""

    from_: Name = Field(alias="from", description="the name of the workload")
    key: CredentialKey

    model_config = ConfigDict(populate_by_name=True, serialize_by_alias=True)


def _one_kind(value: Any, _: ValidatorFunctionWrapHandler) -> str | CredentialRef:
    """Errors of the kind that was meant: of a plain union people would be told why it is neither."""
    if isinstance(value, (Mapping, CredentialRef)):
        return CredentialRef.model_validate(value)
    return _TEXT.validate_python(value)


EnvValue = Annotated[Text | CredentialRef, WrapValidator(_one_kind)]
