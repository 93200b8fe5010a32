"""What the programs of a grader's pool import before their first comparison.

They may open no file later, and sympy imports much only when it is needed. A module that is still
missing then shows as the grade "error" or "unparsed", never as a wrong one.
"""

from __future__ import annotations

_SYMPY = (
    "abc assumptions.facts assumptions.handlers assumptions.handlers.calculus "
    "assumptions.handlers.common assumptions.handlers.matrices assumptions.handlers.ntheory "
    "assumptions.handlers.order assumptions.handlers.sets assumptions.lra_satask "
    "assumptions.predicates.calculus assumptions.predicates.common "
    "assumptions.predicates.matrices assumptions.predicates.ntheory assumptions.predicates.order "
    "assumptions.predicates.sets assumptions.satask assumptions.sathandlers assumptions.wrapper "
    "combinatorics combinatorics.galois concrete.delta discrete.recurrences integrals.heurisch "
    "integrals.manualintegrate integrals.prde integrals.rde integrals.risch "
    "logic.algorithms.dpll logic.algorithms.dpll2 logic.algorithms.lra_theory "
    "matrices.expressions.applyfunc matrices.expressions.factorizations "
    "matrices.expressions.fourier matrices.normalforms physics.matrices physics.units "
    "polys.dispersion polys.distributedmodules polys.domains.old_fractionfield "
    "polys.domains.old_polynomialring polys.domains.quotientring polys.matrices._dfm "
    "polys.numberfields.resolvent_lookup polys.polymatrix sets.handlers.add "
    "sets.handlers.functions sets.handlers.issubset sets.handlers.mul sets.handlers.power "
    "sets.setexpr tensor.array.array_derivatives tensor.array.expressions tensor.tensor"
)
PRELOAD = (
    "jprm.grade.symbolic",  # brings math_verify, latex2sympy2_extended and sympy
    "antlr4.LL1Analyzer",
    *(f"sympy.{name}" for name in _SYMPY.split()),
)
