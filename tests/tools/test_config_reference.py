"""The reference of the configuration is what the code says."""

import pytest
from pydantic import Field

from jprm.config import Config
from jprm.errors import UserError
from tools import config_reference


def test_the_page_is_current():
    assert config_reference.PAGE.read_text(encoding="utf-8") == config_reference.page(), (
        "run: python -m tools.config_reference"
    )


def test_no_key_lacks_a_description():
    assert config_reference.undescribed() == []


class Inner(Config):
    """An inner section."""

    share: float = Field(default=0.5, gt=0, le=1)
    bare: int = 3


class Outer(Config):
    """A whole configuration."""

    inner: Inner = Inner()
    tags: tuple[str, ...] = ("a|b", "```")
    """Texts in `<tags>`, <or> behind ```py."""


def test_a_key_without_a_description_is_named(monkeypatch):
    monkeypatch.setattr(config_reference, "CONFIGURATIONS", (Outer,))
    assert config_reference.undescribed() == ["Outer: inner.share", "Outer: inner.bare"]
    with pytest.raises(UserError, match="inner.bare; write one below each field"):
        config_reference.page()


def test_keys_become_rows_that_markdown_shows_as_they_are():
    (_, _, own), (name, _, inner) = config_reference.sections(Outer)
    assert name == "inner"
    tags = config_reference._table(own).splitlines()[-1]
    assert tags == (
        r'| `tags` | list of texts | ```` ["a\|b", "```"] ```` | Texts in `<tags>`, &lt;or> behind \`\`\`py. |'
    )
    share = config_reference._table(inner).splitlines()[2]
    assert share == "| `inner.share` | number, above 0, at most 1 | `0.5` |  |"


def test_a_page_that_is_not_current_has_exit_code_1(tmp_path, monkeypatch, capsys):
    page = tmp_path / "configuration.md"
    monkeypatch.setattr(config_reference, "PAGE", page)
    assert config_reference.main(["--check"]) == 1
    assert "python -m tools.config_reference" in capsys.readouterr().err
    assert config_reference.main([]) == 0
    assert config_reference.main(["--check"]) == 0
