"""The code of a rationale: which text is run, and what the model is shown of what it printed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jprm.execute import Pool, PreloadLevel
from jprm.execute.runner import OPTIONS
from jprm.verify import ChatDialogue, Execute, Generate
from jprm.verify.snippets import CodeSettings, code_in, opened_block
from tests.verify.published import V0, codec, published

ALL = CodeSettings(fences=True, main=True, keep_printed=True, output_chars=400)
REFERENCE = published("quirks.reference=true")


def asked(turn, template):
    """What is done after an analysis and one turn of verification."""
    dialogue = ChatDialogue(template, codec())
    dialogue.feed("Fine.\n</analyze>\n", 3)
    assert dialogue.next_action().forced == V0
    dialogue.feed(turn, 9)
    return dialogue.next_action()


@pytest.mark.parametrize(
    ("turn", "code"),
    [
        ("print(1)\n```\n", "print(1)"),
        ("    x = 1\n    print(x)\n```\n", "x = 1\nprint(x)"),
        ("\tx = 1\n\tif x:\n\t\tprint(x)\n```\n", "x = 1\nif x:\n\tprint(x)"),
        ("a\n``` \n```py\nprint(2)\n```\n", "print(2)"),
        ("a\n``` \n```Python\nprint(2)\n```\n", "print(2)"),
        ("a\n``` \n```python3 \nprint(2)\n```\n", "print(2)"),
        ("a\n``` \n``` PY\nprint(2)\n```\n", "print(2)"),
        ("a\n``` \n  ```{python}\n  print(2)\n```\n", "print(2)"),
        ("a\n``` \n~~~python\nprint(2)\n~~~\n", "print(2)"),
        ("a\n``` \n```python title='a.py'\nprint(2)\n```\n", "print(2)"),
        ("a\n``` \n```python {.line}\nprint(2)\n```\n", "print(2)"),
        ("a\n``` \n```{python, echo=FALSE}\nprint(2)\n```\n", "print(2)"),
        ("a\n``` \r\n```python\r\nprint(2)\r\n```\n", "print(2)"),
        ('  s = """a\n b"""\n  print(s)\n```\n', 's = """a\n b"""\nprint(s)'),
        ("a\n``` \n~~~py\nprint('''\n~~ ''')\n~~~\nand more", "print('''\n~~ ''')"),
        ("print('''\n~~~\n''')\n```\n", "print('''\n~~~\n''')"),
    ],
)
def test_blocks(turn, code):
    assert asked(turn, published()) == Execute(code)


def test_the_published_program_knows_one_fence():
    assert asked("    x = 1\n    print(x)\n```\n", REFERENCE) == Execute("x = 1\n    print(x)")
    assert asked("a\n``` \n```py\nprint(2)\n```\n", REFERENCE) != Execute("print(2)")
    assert isinstance(asked("a\n``` \n~~~python\nprint(2)\n~~~\n", REFERENCE), Generate)
    assert asked("print(1)\n```\n", REFERENCE) == Execute("print(1)")
    assert REFERENCE.code_settings == CodeSettings() and REFERENCE.code_settings.options == ""
    assert published().all_stops == (*published().stops, "\n~~~\n")


@given(st.text(), st.text())
def test_the_last_block_is_the_code(before, code):
    text = f"{before}\n```python\n{code}"
    for settings in (CodeSettings(), ALL):
        found = opened_block(text, "```python\n", settings)
        assert found is not None and code.endswith(found[1])
    assert code_in(code, CodeSettings()) == code.strip()


@pytest.fixture(scope="module")
def pool():
    with Pool(workers=1, warm=PreloadLevel.PLAIN, memoize=True) as pool:
        yield pool


def outcome(pool, settings, *snippets):
    pool.options = settings.options
    session = pool.session()
    try:
        return [session.run(code).text for code in snippets][-1]
    finally:
        pool.options = ""
        session.close()


GUARD = "if __name__ == '__main__':\n    print(1)\nprint(2)"


def test_a_main_guard_runs(pool):
    assert outcome(pool, ALL, GUARD) == "1\n2"
    assert outcome(pool, CodeSettings(), GUARD) == "2"
    # In a later snippet of the session, too, and not in one of another session.
    assert outcome(pool, CodeSettings(main=True), "def main():\n    print(3)", f"{GUARD}\nmain()") == "1\n2\n3"
    assert outcome(pool, CodeSettings(), "print(__name__)") == "builtins"


def test_what_was_printed_before_an_error_is_kept(pool):
    late = "print('x = 5')\nimport no_such_module\nprint(6)"
    error = "Code execute Error: ModuleNotFoundError: No module named 'no_such_module'"
    assert outcome(pool, ALL, late) == f"x = 5\n{error}"
    assert outcome(pool, CodeSettings(keep_printed=True), late) == f"x = 5\n{error}"
    assert outcome(pool, CodeSettings(), late) == error
    assert outcome(pool, ALL, "print(7)\n1/0").startswith("7\nCode execute Error: ZeroDivision")
    assert outcome(pool, ALL, "1/0") == "Code execute Error: ZeroDivisionError: division by zero"
    assert outcome(pool, ALL, "print(3)\nraise SystemExit").endswith("3")


def test_long_output_keeps_both_ends(pool):
    text = outcome(pool, ALL, "print('a' * 300 + 'b' * 500)")
    assert text == "a" * 200 + "\n... [401 characters left out] ...\n" + "b" * 199
    many = outcome(pool, ALL, "for i in range(3000):\n    print(i)")
    assert many.startswith("0\n1\n2\n") and many.endswith("2998\n2999")
    whole = "".join(f"{i}\n" for i in range(3000))
    assert f"[{len(whole) - 400} characters left out]" in many
    assert outcome(pool, ALL, "print('a' * 399)") == "a" * 399
    both = outcome(pool, ALL, "print('a' * 9000)\n1/0")
    assert both.startswith("aaa") and both.endswith("ZeroDivisionError: division by zero")
    first = outcome(pool, CodeSettings(), "print('a' * 20000 + 'b')")
    assert first.startswith("aaa") and first.endswith("[output truncated]")


def test_a_snippet_cannot_break_its_options(pool):
    for line in ("ends=", "ends=x", "ends=" + "9" * 5000, "ends=\u00b2", "main=1 printed", "="):
        assert outcome(pool, CodeSettings(), f"print(1){OPTIONS}{line}") == "1"
        assert outcome(pool, ALL, f"print(1){OPTIONS}{line}") == "1"
    unclosed = outcome(pool, ALL, "x = '''\nprint(1)")
    assert unclosed == outcome(pool, CodeSettings(), "x = '''\nprint(1)"), "the same lines are counted"
    assert ALL.options == f"{OPTIONS}main printed ends=400"
