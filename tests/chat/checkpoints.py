"""Tokenizers of checkpoints, made here: byte-level BPE with the special tokens and templates of six families."""

import json
from collections.abc import Sequence
from pathlib import Path

import tokenizers as hf
from tokenizers import decoders, models, normalizers, pre_tokenizers, processors, trainers

TEXTS = [
    "The sum of 8 and 3 is 11, so the step is right.\n\nThe next step says 12.\n",
    "Is it Yes or No? Yes, it is. No, it is not.  Two blanks\tand a tab\n  and an indent.\n",
    "You are a helpful assistant. Solve the problem step by step. café naïve 你好 €5",
] * 4

# Each family: special tokens, end of a turn, and a template with places for generation blocks.
QWEN = """\
{%- if messages[0]['role'] != 'system' -%}
<|im_start|>system
You are a helpful assistant.<|im_end|>
{% endif -%}
{%- for message in messages -%}
{{- '<|im_start|>' + message['role'] + '\\n' -}}
{%- if message['role'] == 'assistant' -%}
{{- GENERATION -}}{{- message['content'] + '<|im_end|>' -}}{{- END -}}
{%- else -%}
{{- message['content'] + '<|im_end|>' -}}
{%- endif -%}
{{- '\\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}
{{- '<|im_start|>assistant\\n' -}}
{%- endif -%}"""
LLAMA = """\
{{- bos_token -}}
{%- for message in messages -%}
{{- '<|start_header_id|>' + message.role + '<|end_header_id|>\\n\\n' -}}
{%- if message.role == 'assistant' -%}
{{- GENERATION -}}{{- message.content | trim -}}{{- '<|eot_id|>' -}}{{- END -}}
{%- else -%}
{{- message.content | trim + '<|eot_id|>' -}}
{%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}
{{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' -}}
{%- endif -%}"""
R1 = """\
{%- set ns = namespace(system='') -%}
{%- for message in messages if message['role'] == 'system' -%}
{%- set ns.system = message['content'] -%}
{%- endfor -%}
{{- bos_token + ns.system -}}
{%- for message in messages -%}
{%- if message['role'] == 'user' -%}
{{- '<｜User｜>' + message['content'] -}}
{%- elif message['role'] == 'assistant' -%}
{%- set said = message['content'].split('</think>')[-1] -%}
{{- '<｜Assistant｜>' -}}{{- GENERATION -}}{{- said + '<｜end▁of▁sentence｜>' -}}{{- END -}}
{%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}
{{- '<｜Assistant｜><think>\\n' -}}
{%- endif -%}"""
# The last turn of the assistant has a block of thinking, earlier ones lose theirs; without thinking the prompt has an
# empty block.
QWEN3 = """\
{%- set ns = namespace(query=0) -%}
{%- for message in messages -%}
{%- if message.role == 'user' -%}{%- set ns.query = loop.index0 -%}{%- endif -%}
{%- endfor -%}
{%- for message in messages -%}
{{- '<|im_start|>' + message.role + '\\n' -}}
{%- if message.role == 'assistant' -%}
{%- set thought = message.content.split('</think>')[0].split('<think>')[-1] if '</think>' in message.content else '' -%}
{%- if loop.index0 > ns.query and (loop.last or thought) -%}
{{- '<think>\\n' + thought.strip('\\n') + '\\n</think>\\n\\n' + message.content.split('</think>')[-1].lstrip('\\n') -}}
{%- else -%}
{{- message.content.split('</think>')[-1] -}}
{%- endif -%}
{%- else -%}
{{- message.content -}}
{%- endif -%}
{{- '<|im_end|>\\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}
{{- '<|im_start|>assistant\\n' -}}
{%- if enable_thinking is defined and enable_thinking is false -%}
{{- '<think>\\n\\n</think>\\n\\n' -}}
{%- endif -%}
{%- endif -%}"""
# Contents are trimmed, and the system header writes the day, as Llama 3.1 does.
DATED = """\
{{- bos_token -}}
{%- set today = strftime_now('%d %b %Y') if strftime_now is defined else '26 Jul 2024' -%}
{%- set told = messages[0].role == 'system' -%}
{{- '<|start_header_id|>system<|end_header_id|>\\n\\nToday Date: ' + today + '\\n\\n' -}}
{{- (messages[0].content | trim if told else '') + '<|eot_id|>' -}}
{%- for message in (messages[1:] if told else messages) -%}
{{- '<|start_header_id|>' + message.role + '<|end_header_id|>\\n\\n' + message.content | trim + '<|eot_id|>' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}
{{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' -}}
{%- endif -%}"""
# No system role, another name of the assistant, trimmed contents.
GEMMA = """\
{{- bos_token -}}
{%- if messages[0].role == 'system' -%}{{- raise_exception('System role not supported') -}}{%- endif -%}
{%- for message in messages -%}
{%- if (message.role == 'user') != (loop.index0 % 2 == 0) -%}{{- raise_exception('Roles alternate') -}}{%- endif -%}
{{- '<start_of_turn>' + ('model' if message.role == 'assistant' else message.role) + '\\n' -}}
{{- message.content | trim + '<end_of_turn>\\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<start_of_turn>model\\n' -}}{%- endif -%}"""
FAMILIES = {
    # name: (template, tokens, end of a turn, beginning, padding, normal form)
    "qwen": (QWEN, ["<|im_start|>"], "<|im_end|>", None, "<|endoftext|>", "NFC"),
    "llama": (
        LLAMA,
        ["<|start_header_id|>", "<|end_header_id|>", "<|end_of_text|>"],
        *("<|eot_id|>", "<|begin_of_text|>", None, None),
    ),
    "r1": (
        R1,
        ["<｜User｜>", "<｜Assistant｜>", "<think>", "</think>"],
        *("<｜end▁of▁sentence｜>", "<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>", None),
    ),
}
# Families whose templates do what those above do not, for layouts of conversations.
OTHERS = {
    "qwen3": (QWEN3, ["<|im_start|>", "<think>", "</think>"], "<|im_end|>", None, "<|endoftext|>", "NFC"),
    "llama-dated": (
        DATED,
        ["<|start_header_id|>", "<|end_header_id|>", "<|end_of_text|>"],
        *("<|eot_id|>", "<|begin_of_text|>", None, None),
    ),
    "gemma": (GEMMA, ["<start_of_turn>"], "<end_of_turn>", "<bos>", "<pad>", None),
}


def template(family: str, generation: bool) -> str:
    """The family's template, with or without generation blocks."""
    blocks = ("{%- generation -%}", "{%- endgeneration -%}") if generation else ("", "")
    text = (FAMILIES | OTHERS)[family][0]
    return text.replace("{{- GENERATION -}}", blocks[0]).replace("{{- END -}}", blocks[1])


def make(
    directory: Path,
    family: str = "qwen",
    generation: bool = False,
    chat_template: str | None = None,
    trim_offsets: bool = False,
    texts: Sequence[str] = TEXTS,
    vocab_size: int = 360,
    **config: object,
) -> Path:
    """A directory with the tokenizer alone, learnt from `texts`. `config` goes into generation_config.json."""
    _, tokens, end, bos, pad, form = (FAMILIES | OTHERS)[family]
    backend = hf.Tokenizer(models.BPE())
    if form:
        backend.normalizer = normalizers.NFC()
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    backend.post_processor = processors.ByteLevel(trim_offsets=trim_offsets)
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size, initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()), show_progress=False
    )
    backend.train_from_iterator(texts, trainer)
    special = list(dict.fromkeys(t for t in (*tokens, end, bos, pad) if t))
    backend.add_special_tokens([hf.AddedToken(t, special=True, normalized=False) for t in special])
    directory.mkdir(parents=True)
    backend.save(str(directory / "tokenizer.json"))
    names = {"eos_token": end, "bos_token": bos, "pad_token": pad}
    about = {"tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": False}
    about |= {name: text for name, text in names.items() if text}
    (directory / "tokenizer_config.json").write_text(json.dumps(about))
    source = chat_template if chat_template is not None else template(family, generation)
    if source:
        (directory / "chat_template.jinja").write_text(source)
    if config:
        (directory / "generation_config.json").write_text(json.dumps(config))
    return directory
