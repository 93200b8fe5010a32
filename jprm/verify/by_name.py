"""Rationale protocols by name. One of your own is registered by a decorator:

    @protocol("code-first")
    class CodeFirst(Template): ...

What is registered is called with `budget` and `code` (how code is treated), and gives the protocol in which verifiers
are trained and asked. A `Template` of other texts or another order is the whole of it; a `RationaleFormat` that is
played in another way names its state machine as its class variable `dialogue`.
"""

from collections.abc import Callable
from dataclasses import replace

from jprm.errors import UserError
from jprm.registry import Registry
from jprm.verify.compact import EMBEDDED
from jprm.verify.genprm import GenPRM
from jprm.verify.protocol import Budget, RationaleFormat
from jprm.verify.published import published
from jprm.verify.settings import dialogue_of
from jprm.verify.snippets import CodeSettings
from jprm.verify.think import ThinkPRM

protocol: Registry[Callable[..., RationaleFormat]] = Registry("protocol")
"""Protocols by name: classes or functions that make one from `budget` and `code`."""

OURS = ("tags", "genprm", "thinkprm")


def make_protocol(name: str, budget: Budget, code: CodeSettings) -> RationaleFormat:
    """Makes the protocol of that name. Raises UserError for an unknown name, and for what is no protocol."""
    made = protocol[name](budget=budget, code=code)
    if not isinstance(made, RationaleFormat):
        raise UserError(f"the protocol {name} makes a {type(made).__name__}; a Template or a RationaleFormat is needed")
    dialogue_of(made)
    return made


@protocol("tags")
def _tags(budget: Budget, code: CodeSettings) -> RationaleFormat:
    """The compact protocol: one text, and tags that are single tokens; presets speak it."""
    return replace(EMBEDDED, budget=budget, code=code)


@protocol("genprm")
def _genprm(budget: Budget, code: CodeSettings) -> RationaleFormat:
    """The published GenPRM's, in its own chat or in that of a checkpoint's template; checkpoints speak it."""
    return published(GenPRM).model_copy(update={"budget": budget, "code": code})


@protocol("thinkprm")
def _thinkprm(budget: Budget, code: CodeSettings) -> RationaleFormat:
    """The published ThinkPRM's, which judges whole solutions; for checkpoints, in `evaluate` and `train`."""
    return published(ThinkPRM).model_copy(update={"budget": budget})
