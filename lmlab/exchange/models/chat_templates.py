"""A template of conversations in the languages of other programs: Jinja for transformers, Go's for Ollama.

transformers: `chat_template` of tokenizer_config.json, a function of `messages` (role, content, and for a user `input`, which may
be absent) and `add_generation_prompt`; llama.cpp reads the same text in a GGUF. Ollama: TEMPLATE, SYSTEM and stop parameters of a
Modelfile, which it applies once a turn; what follows `.Response` there is left out of the turn that is being answered.
"""

from __future__ import annotations

import json

from lmlab.data.tokenizers.byte_level import END_OF_TEXT
from lmlab.recipe.template import Template


def jinja_of(template: Template) -> str:
    """Return the template in Jinja, where `eos_token` is the text of the end-of-text token."""
    system, user, given, assistant = (
        tuple(map(_quoted, pair)) for pair in (template.system, template.user, template.user_input, template.assistant)
    )
    default = _quoted(template.default_system)
    return "".join(
        (
            "{% set said = messages[0]['content'] if messages[0]['role'] == 'system' else '' %}",
            f"{{% set about = said or {default} %}}",
            f"{{% if about %}}{{{{ {system[0]} + about + {system[1]} }}}}{{% endif %}}",
            "{% for message in messages | rejectattr('role', 'equalto', 'system') %}",
            "{% if message['role'] == 'user' %}",
            f"{{{{ ('' if loop.first else {_quoted(template.between)}) + {user[0]} + message['content'] }}}}",
            f"{{% if message['input'] %}}{{{{ {given[0]} + message['input'] + {given[1]} }}}}{{% endif %}}",
            f"{{{{ {user[1]} }}}}",
            "{% else %}",
            f"{{{{ {assistant[0]} + message['content'] + {assistant[1]} }}}}",
            f"{{% if {'loop.last' if template.assistant[1] else 'true'} %}}{{{{ eos_token }}}}{{% endif %}}",
            "{% endif %}{% endfor %}",
            f"{{% if add_generation_prompt %}}{{{{ {assistant[0]} }}}}{{% endif %}}",
        )
    )


def modelfile_lines(template: Template, has_end: bool) -> list[str]:
    """Return the lines of Ollama's Modelfile that state the template, and where an answer stops.

    `has_end`: whether the tokenizer has an end of text.
    """
    system, user, assistant = template.system, template.user, template.assistant
    # An end of text follows each earlier answer where nothing else marks its end.
    after = assistant[1] or (END_OF_TEXT if has_end else "")
    text = (
        f"{{{{ if .System }}}}{system[0]}{{{{ .System }}}}{system[1]}{{{{ end }}}}"
        f"{user[0]}{{{{ .Prompt }}}}{user[1]}{assistant[0]}{{{{ .Response }}}}{after}{template.between}"
    )
    stops = [*template.stop, *([END_OF_TEXT] if has_end else [])]
    about = [f'SYSTEM """{template.default_system}"""'] if template.default_system else []
    return [f'TEMPLATE """{text}"""', *about, *(f"PARAMETER stop {json.dumps(stop)}" for stop in stops)]


def _quoted(text: str) -> str:
    """Return a text as a literal of Jinja, whose escapes are those of JSON."""
    return json.dumps(text)
