"""The kinds of attack, of which a setting names one."""

from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from invgrad.analytic import Analytic
from invgrad.attack import Attack


def _by_optimisation_unless_said(settings: Any) -> Any:
    return {"kind": "optimisation"} | settings if isinstance(settings, dict) else settings


_Kinds = Annotated[Attack | Analytic, Field(discriminator="kind")]

AnyAttack = Annotated[_Kinds, BeforeValidator(_by_optimisation_unless_said, _Kinds)]
"""Without a `kind`, an attack by optimisation."""
