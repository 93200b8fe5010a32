"""Which modules a snippet can import, and how large a fork server it needs for them.

A jailed session opens no files, so its fork server has loaded all that it may import. A server with all
of sympy and scipy takes several milliseconds to fork where a bare one takes one. So there are three
preload levels, and the server of each is started when the first snippet needs it; most checks of simple
steps need the smallest. A session moves up when a snippet asks for more.
"""

import enum
import importlib
import pkgutil
import re
import sys
import warnings
from collections.abc import Iterable
from types import ModuleType


class PreloadLevel(enum.IntEnum):
    """What a fork server has loaded; each level holds the modules of those before it."""

    PLAIN = 0
    SYMBOLIC = 1
    SCIENTIFIC = 2


# The modules of the standard library that computation is made of.
_PLAIN = frozenset(
    """
    abc array bisect calendar cmath collections collections.abc contextlib copy dataclasses datetime
    decimal enum errno fractions functools gc heapq io itertools json math numbers operator os
    os.path pprint random re signal statistics string struct sys textwrap time types typing
    unicodedata warnings
    """.split()
)
# Not for a check of a step: other programs, windows, and what acts when it is imported.
_STANDARD_BUT = frozenset(
    """
    antigravity asyncio curses dbm distutils ensurepip idlelib lib2to3 msilib multiprocessing nis
    pip pydoc_data this tkinter turtle turtledemo venv winreg winsound wsgiref
    """.split()
)
_NUMPY = "fft linalg ma matlib polynomial random".split()
_SCIPY = """
    cluster constants fft integrate interpolate linalg ndimage optimize signal sparse sparse.linalg
    spatial special stats
""".split()
# Parts of packages that no snippet asks for: tests, drawing, other languages, deprecated names.
_NOT_WALKED = frozenset(
    """
    tests testing test conftest benchmarks runtests plotting pyglet galgebra sandbox
    c fortran latex autolev antlr llvmjitcode pytorch tensorflow _compilation sampling
    compatibility trace pytest randtest tmpfiles this meijerint_doc hyperexpand_doc
    """.split()
)
# Fills sympy's caches, so that a session neither computes them again nor pays with its own memory: a
# first `solve` takes 10 ms and 9 MiB of it instead of 15 ms and 11 MiB. No result depends on them.
_WARM_UP = """
from sympy import *
x, y, n = symbols("x y n")
for result in (
    lambda: solve(x**2 - 3 * x - 4, x),
    lambda: solve([x + 2 * y - 5, x - y + 1], [x, y]),
    lambda: expand((x - 2 * y) ** 3) + factor(x**3 - x) + simplify((x**2 - 1) / (x - 1)),
    lambda: diff(x * exp(x) * log(x), x),
    lambda: integrate(x**2 + cos(x) ** 2, (x, 0, 2)),
    lambda: limit((1 - cos(x)) / x**2, x, 0),
    lambda: trigsimp(sin(x) ** 4 - cos(x) ** 4),
    lambda: Matrix([[2, 1, 0], [1, 3, 1], [0, 1, 4]]).inv().det(),
    lambda: summation(n**2, (n, 1, 9)) + Rational(1, 3) + sqrt(12) / sqrt(3),
    lambda: N(pi + E, 20) + nsimplify(0.25) + binomial(7, 3) + factorial(5),
    lambda: (factorint(5040), isprime(97), list(primerange(20)), gcd(84, 36), divisors(28)),
    lambda: Eq(x, 1).subs(x, 1) and Interval(0, 1).contains(Rational(1, 2)),
    lambda: Polygon((0, 0), (4, 0), (0, 3)).area,
):
    str(result())
"""
_IMPORTED = re.compile(r"\b(?:from|import)[ \t]+([^\n;#]+)")
_INDIRECT = ("__import__", "importlib", "modules", "exec", "eval", "compile")


def level_of(code: str) -> PreloadLevel:
    """Returns the smallest level whose modules cover what a snippet names, or a larger one where that is unclear."""
    if "scipy" in code:
        return PreloadLevel.SCIENTIFIC
    if "import" not in code and not any(word in code for word in _INDIRECT):
        return PreloadLevel.PLAIN
    named = (clause.split(" import ")[0] for clause in _IMPORTED.findall(code))
    modules = {name.split()[0] for clause in named for name in clause.split(",") if name.strip()}
    if modules <= _PLAIN and not any(word in code for word in _INDIRECT):
        return PreloadLevel.PLAIN
    return PreloadLevel.SYMBOLIC


def load(level: PreloadLevel, extra: Iterable[str] = ()) -> None:
    """Imports the modules of a level, in a fork server.

    extra: modules that the user wants in every level but the plain one; a name that ends in ".*" is a package with all
    of its parts. Raises ImportError if one of them, or a package of the level itself, is not there.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name in sorted(_PLAIN):
            importlib.import_module(name)
        if level >= PreloadLevel.SYMBOLIC:
            for name in sorted(sys.stdlib_module_names - _STANDARD_BUT):
                if not name.startswith("_"):
                    _import_if_possible(name)
            names = ["sympy.*", *(f"numpy.{part}" for part in _NUMPY), *extra]
            if level >= PreloadLevel.SCIENTIFIC:
                names += [f"scipy.{part}" for part in _SCIPY]
            for name in names:
                module = importlib.import_module(name.removesuffix(".*"))
                if name.endswith(".*"):
                    _walk(module)
            exec(_WARM_UP, {})


def _walk(package: ModuleType) -> None:
    for found in pkgutil.iter_modules(package.__path__, package.__name__ + "."):
        part = found.name.rsplit(".", 1)[1]
        unwanted_physics = found.name.startswith("sympy.physics.") and part != "units"
        if part in _NOT_WALKED or part.startswith("test_") or unwanted_physics:
            continue
        if (module := _import_if_possible(found.name)) and found.ispkg:
            _walk(module)


def _import_if_possible(name: str) -> ModuleType | None:
    try:
        return importlib.import_module(name)
    except Exception:  # a part that needs another system or package: a snippet meets the same
        return None
