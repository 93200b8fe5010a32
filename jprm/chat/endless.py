"""Tries whether the programs in a checkpoint's directory come to an end: its chat template, its patterns.

Both are programs of strangers. A template runs in the process (jinja's sandbox keeps it from reaching anything, but
lets it loop and fill the memory), so it is tried once in a process of its own under limits. Patterns run in native code
that gives up by a panic after ten million steps at one place, so texts that make a pattern backtrack are tried once.
"""

import json
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

CPU_S, MEMORY_BYTES = 5, 1 << 30
WALL_S = 60.0  # long, because a machine may be busy
PROGRAM = r"""
import json, re, resource, sys
from datetime import datetime
from jinja2.sandbox import ImmutableSandboxedEnvironment
cpu_s, memory_bytes, template, messages, options = json.load(sys.stdin)
resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
resource.setrlimit(resource.RLIMIT_CPU, (cpu_s, cpu_s))
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
def refuse(text):
    raise ValueError(text)
environment = ImmutableSandboxedEnvironment(
    trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
)
environment.filters["tojson"] = lambda value, **more: json.dumps(value, ensure_ascii=False)
environment.globals |= {"raise_exception": refuse, "strftime_now": datetime.now().strftime}
template = re.sub(r"\{%-?\s*(?:end)?generation\s*-?%\}", "", template)
try:
    environment.from_string(template).render(messages=messages, **options)
except MemoryError:
    sys.exit(3)
except Exception:
    pass  # it ends; what is wrong with it is told where it is used
"""
# One character again and again, and one that does not fit behind it.
RUNS = tuple(character * 64 + "!" for character in ("a", "A", "0", " ", "\n", "-", "é", "a ", "aA"))


def template_ends(template: str, messages: Sequence[Mapping[str, Any]], options: Mapping[str, Any]) -> bool:
    """Says whether a template writes these messages within 5 seconds of processor time and 1 GiB."""
    asked = [CPU_S, MEMORY_BYTES, template, [dict(m) for m in messages], dict(options)]
    try:
        done = subprocess.run(
            [sys.executable, "-I", "-c", PROGRAM],
            input=json.dumps(asked, default=str),
            text=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=WALL_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return False
    return done.returncode >= 0 and done.returncode != 3  # a negative code: it was killed at a limit


def backtracks_on(encode: Callable[[str], object]) -> str:
    """Returns a text of `RUNS` on which a pattern of the tokenizer gives up; "" if there is none."""
    for text in RUNS:
        try:
            encode(text)
        except BaseException as error:
            if is_panic(error):
                return text
            if not isinstance(error, Exception):  # a closed vocabulary raises one, which is no panic
                raise
    return ""


def is_panic(error: BaseException) -> bool:
    """Says whether native code of `tokenizers` has given up; what it raises is no `Exception`."""
    return type(error).__name__ == "PanicException"
