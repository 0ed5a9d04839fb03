"""The templates of `lmlab.recipe.template`, which turn the conversations of this package into text."""

from lmlab.recipe.template import (
    FILE,
    FORMAT,
    ROLES,
    TEMPLATES,
    Message,
    Role,
    Segment,
    Template,
    require_turns,
    template_from_json,
    template_named,
)

__all__ = [
    "FILE",
    "FORMAT",
    "ROLES",
    "TEMPLATES",
    "Message",
    "Role",
    "Segment",
    "Template",
    "require_turns",
    "template_from_json",
    "template_named",
]
