"""Templates in other programs' languages give the text that ours gives."""

import re

import pytest

from lmlab.data.instructions.encoding import parts_of
from lmlab.data.tokenizers.bpe import learn_bpe
from lmlab.exchange.models.chat_templates import jinja_of, modelfile_lines
from lmlab.exchange.models.writing import modelfile, write_hf
from lmlab.recipe.model import GPT
from lmlab.recipe.template import TEMPLATES, Message
from tests.exchange.models.made import transformers
from tests.exchange.models.test_export import MODELS, written

END = "<|endoftext|>"
USER = Message(role="user", content='Who\'s "there"?\n{{ x }} \\n é')
CHATS = {
    "a question": [USER],
    "with an input": [Message(role="user", content="Repeat.", input="this {% raw %}")],
    "with a system": [Message(role="system", content="Be short."), USER],
    "answered": [USER, Message(role="assistant", content=" Me.\n")],
    "several turns": [
        Message(role="system", content="S"),
        USER,
        Message(role="assistant", content="A"),
        Message(role="user", content="And?"),
    ],
}


def ours(template, chat):
    text = "".join(part.text + END * part.ends_text for part in template.segments(chat))
    return text + (template.assistant[0] if chat[-1].role == "user" else "")


def as_dicts(chat):
    return [{"role": one.role, "content": one.content, **({"input": one.input} if one.input else {})} for one in chat]


@pytest.mark.parametrize("chat", CHATS)
@pytest.mark.parametrize("name", TEMPLATES)
def test_jinja_renders_the_same_text(name, chat):
    sandbox = pytest.importorskip("jinja2.sandbox")
    template, messages = TEMPLATES[name], CHATS[chat]
    # As transformers does.
    environment = sandbox.ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
    asked = messages[-1].role == "user"
    rendered = environment.from_string(jinja_of(template)).render(
        messages=as_dicts(messages), add_generation_prompt=asked, eos_token=END
    )
    assert rendered == ours(template, messages)


@pytest.mark.parametrize("name", TEMPLATES)
def test_transformers_asks_with_the_tokens_that_the_model_was_tuned_on(tmp_path, name):
    library = transformers()
    tokenizer = learn_bpe(["Who's there? Be short. ### Instruction:\n\n" * 20], 300)
    _, what = written(MODELS["llama"], tokenizer)
    template = TEMPLATES[name]
    write_hf(tmp_path, type(what)(**{**vars(what), "template": template}))
    theirs = library.AutoTokenizer.from_pretrained(tmp_path)
    for messages in (CHATS["a question"], CHATS["with a system"], CHATS["with an input"]):
        asked = theirs.apply_chat_template(as_dicts(messages), add_generation_prompt=True, tokenize=False)
        assert asked == template.prompt(messages)
        answered = [*messages, Message(role="assistant", content="Me.")]
        given = parts_of(template, answered)[0]
        assert theirs(asked, add_special_tokens=False).input_ids == tokenizer.encode(given.text).tolist()
    write_hf(tmp_path, what)
    assert library.AutoTokenizer.from_pretrained(tmp_path).chat_template is None


def ollama(lines, system, turns):
    """What Ollama's rules give: the template once a turn, the system in the first, of the last turn nothing after .Response."""
    text = re.search(r'TEMPLATE """(.*?)"""', lines, re.DOTALL).group(1)
    default = re.search(r'SYSTEM """(.*?)"""', lines, re.DOTALL)
    system = system or (default.group(1) if default else "")
    said = ""
    for number, (prompt, response) in enumerate(turns):
        now = text if response is not None else text.partition("{{ .Response }}")[0]
        shown = r"\1" if system and not number else ""
        now = re.sub(r"\{\{ if \.System \}\}(.*?)\{\{ end \}\}", shown, now, flags=re.DOTALL)
        said += (
            now.replace("{{ .System }}", system)
            .replace("{{ .Prompt }}", prompt)
            .replace("{{ .Response }}", response or "")
        )
    return said


@pytest.mark.parametrize("name", TEMPLATES)
def test_a_modelfile_renders_the_same_text_and_stops_where_an_answer_ends(name):
    template = TEMPLATES[name]
    lines = "\n".join(modelfile_lines(template, has_end=True))
    assert ollama(lines, "", [("Hi", None)]) == ours(template, [Message(role="user", content="Hi")])
    chat = CHATS["several turns"]
    turns = [(chat[1].content, "A"), ("And?", None)]
    assert ollama(lines, "S", turns) == ours(template, chat)
    stops = [stop.encode().decode("unicode_escape") for stop in re.findall(r'PARAMETER stop "(.*)"', lines)]
    assert stops == [*template.stop, END]
    assert modelfile(
        GPT(), True, None
    ) == 'FROM ./model.gguf\nTEMPLATE """{{ .Prompt }}"""\nPARAMETER stop "<|endoftext|>"\n' + (
        f"PARAMETER num_ctx {GPT().context}\n"
    )
