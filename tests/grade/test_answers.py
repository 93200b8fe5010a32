"""Which answer a text states."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jprm.grade import final_answer, last_box
from jprm.grade.answers import closing, closings, depth


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("so Kim has 19. Answer: 19.\n", "19"),
        ("first \\boxed{3}, no, \\boxed{ 4 }", "4"),
        ("work\n#### 1,000\n", "1,000"),
        ("The answer is 3.5.", "3.5"),
        ("Answer: $70.00", "$70.00"),
        ("the final answer is 15 * 8 = 120 pints. Answer: 120.\n", "120"),
        ("Answer: 3.5. More text", "3.5"),
        ("\\boxed{}", None),
        ("no such thing: 12", None),
        ("", None),
        (r"thus \boxed{\frac{1}{2}}", r"\frac{1}{2}"),
        (r"\boxed{1-\frac{1}{\mathrm{e}}}.", r"1-\frac{1}{\mathrm{e}}"),
        (r"\boxed{\{1,2\}}", r"\{1,2\}"),
        (r"\boxed {7}", "7"),
        (r"\fbox{7}", "7"),
        (r"\boxed{\boxed{8}}", "8"),
        (r"\boxed{3} and then \boxed{\frac{1}{2", "3"),
        (r"Answer: $\boxed{\frac{3}{4}}$", r"\frac{3}{4}"),
        ("\\boxed{3}\nAnswer: 4", "4"),
        ("Answer: 4\n\\boxed{3}", "3"),
        ("**Final Answer:** **58**", "58"),
        ("**Final Answer**: 58", "58"),
        ("Answer: **58** apples.", "58 apples"),
        ("### Final Answer\n\n**58**\n", "58"),
        ("#### Final Answer\n58", "58"),
        ("The final answer is:\n\n58.", "58"),
        ("Answer:\n58\nThat is all.", "58"),
        ("FINAL ANSWER: 58", "58"),
        (r"**Answer:** $\boxed{58}$", "58"),
        (r"so \boxed 7", "7"),
        (r"so \boxed 7.", "7"),
        (r"so $\boxed75$", "75"),
        (r"so \fbox -7/2, as said", "-7/2"),
        (r"thus \boxed{5}. We check that the answer is correct.", "5"),
        (r"thus \boxed{5}. The answer is reasonable, since 5 < 7.", "5"),
        (r"thus \boxed{5}. Hence the answer is therefore not wrong.", "5"),
        (r"thus \boxed{5}. So the final answer is an integer.", "5"),
        (r"thus \boxed{5}. I was wrong: the answer is 6.", "6"),
        (r"thus \boxed{5}. No, the answer is $x = 6$.", "$x = 6$"),
        (r"thus \boxed{5}. No, the answer is \frac{1}{2}.", r"\frac{1}{2}"),
        (r"thus \boxed{5}. No, the answer is (B).", "(B)"),
        ("We check that the answer is correct.", None),
        ("Answer: 3. We check that this answer is right.", "3"),
        ("The answer is Paris.", "Paris"),
        ("Answer: 2**3", "2**3"),
        (r"\boxed{}, that is", None),
        (r"\boxed", None),
        ("Final Answer: The final answer is $5$. I hope it is correct.", "$5$"),
        ("**Final Answer:** Thus, the answer is **58**.", "58"),
        ("Final Answer\n======\n58", "58"),
        ("Final Answer:\n\n- 58 apples\n", "58 apples"),
        ("Answer: -58", "-58"),
        ("Answer: `58`", "58"),
        ("Answer\uff1a58", "58"),
        ("<think>5?</think><answer> 58 </answer>", "58"),
        (r"so $\boxed \frac{1}{2}$", r"\frac{1}{2}"),
        (r"so $\boxed\dfrac12$.", r"\dfrac12"),
    ],
)
def test_final_answer(text, answer):
    assert final_answer(text) == answer


nested = st.recursive(
    st.text("ab1+ ", max_size=4), lambda inner: st.builds(lambda a, b: f"{a}{{{b}}}", inner, inner), max_leaves=8
)


@given(st.text("xyz ", max_size=9), nested, st.text("xyz }", max_size=9))
def test_a_box_is_found_whole_whatever_stands_in_it(before, inside, after):
    answer = inside.strip().rstrip(".").strip() or None
    assert final_answer(f"{before}\\boxed{{{inside}}}{after}") == answer


@given(st.text("{}\\a", max_size=12))
def test_closing_agrees_with_counting(text):
    text = "{" + text
    depth, expected, escaped = 0, None, False
    for position, char in enumerate(text):
        if escaped:
            escaped = False
            continue
        escaped = char == "\\"
        depth += {"{": 1, "}": -1}.get(char, 0)
        if depth == 0:
            expected = position
            break
    assert closing(text, 0) == expected


@given(st.text("{}\\a", max_size=30))
def test_all_braces_at_once_close_where_each_alone_does(text):
    ends = closings(text)
    escaped = False
    for at, char in enumerate(text):
        if char == "{" and not escaped:
            assert ends.get(at) == closing(text, at)
        else:
            assert at not in ends
        escaped = char == "\\" and not escaped


@given(st.text("{}[]()a", max_size=30))
def test_depth_is_that_of_counting(text):
    levels, level = [0], 0
    for char in text:
        level = max(0, level + (char in "{[(") - (char in "}])"))
        levels.append(level)
    assert depth(text) == max(levels)


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("\\boxed{" * 5000 + "1" + "}" * 5000, "1"),
        ("\\boxed{" * 5000, None),
        ("\\boxed{" * 2500 + "1}" + "\\boxed{" * 2500, "1"),
        ("Answer: 7" + " " * 40_000 + "x", "7" + " " * 40_000 + "x"),
        ("Answer:" + "\n" * 40_000, None),
        ("<answer>" + " " * 40_000, None),
    ],
    ids=["closed", "open", "half", "blanks", "lines", "tag"],
)
def test_the_time_grows_with_the_length_whatever_is_nested(text, answer):
    """Where it grew with the square, each of these took seconds to minutes."""
    for _ in range(20):
        assert final_answer(text) == answer


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        (r"so \boxed{3}, no, $\boxed{\frac{1}{2}}$.", r"\frac{1}{2}"),
        ("\\boxed{3}\nWe check the answer: 3 + 1 = 4.", "3"),
        (r"\boxed{3} and then \boxed{\frac{1}{2", "3"),
        (r"\boxed{}", None),
        ("the answer is 3", None),
        ("", None),
    ],
)
def test_the_last_box_is_read_whatever_follows(text, answer):
    assert last_box(text) == answer


@given(st.text("\\boxed{} 12").map("".join) | st.text())
def test_a_text_without_stated_words_says_its_last_box(text):
    if "nswer" not in text and "NSWER" not in text and "#" not in text:
        assert last_box(text) == final_answer(text)
