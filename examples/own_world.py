"""A world of your own; elsewhere: `python experiments/sweep.py plugins=examples/own_world.py world.kind=sums ...`."""

import itertools
import random
from pathlib import Path

import jprm
from jprm.tokenizer import EOS, word_tokenizer
from jprm.worlds.base import RATIONALE_PIECES, SPLITS, Annotation, Segment, World, make_problem, make_solution

WORDS = " + | = |?\n|.\n|. Answer: |Is | right? |print(| == |)|True|False|None|Error".split("|")


@jprm.world("sums")
class Sums(World):
    """Sums of three numbers, one addition a step."""

    name, version, digest = "sums", "1", ""

    def problems(self, split, n, seed):
        found = [each for each in itertools.product(range(1, 20), repeat=3) if SPLITS[sum(each) % 3] == split]
        chosen = random.Random(seed).sample(found, len(found))[:n]
        return [make_problem("sums", f"{a} + {b} + {c} = ?\n", str(a + b + c), "", split) for a, b, c in chosen]

    def _steps(self, problem, wrong=-1):
        a, b, c = map(int, problem.text[:-5].split(" + "))
        first = a + b + (wrong == 0)
        last = first + c + (wrong == 1)
        return [f"{a} + {b} = {first}.\n", f"{first} + {c} = {last}. Answer: {last}.\n"]

    def reference(self, problem, rng=None):
        return make_solution(problem, self._steps(problem), "reference", -1)

    def planted(self, problem, rng):
        at = int(rng.integers(2))
        return make_solution(problem, self._steps(problem, at), "planted", at, "sum")

    def truth(self, problem, steps):
        differ = (step != right for step, right in itertools.zip_longest(steps, self._steps(problem)))
        return next(((t, "sum") for t, wrong in enumerate(differ) if wrong), (-1, ""))

    def answer(self, steps):
        return steps[-1].partition("Answer: ")[2].strip(".\n") or None

    def annotate(self, problem, steps, step, style, rng=None, noise=0.0):
        made, _, stated = steps[step].partition(".")[0].partition(" = ")
        return Annotation(f"Is {made} = {stated} right? " * (style != "code"), f"print({made} == {stated})")

    def base_documents(self, n, seed):
        for problem in self.problems("train", n, seed):
            yield [Segment(problem.text, False), Segment("".join(self._steps(problem)) + EOS, True)]

    def tokenizer(self):
        return word_tokenizer([*WORDS, *RATIONALE_PIECES, *map(str, range(60))])


if __name__ == "__main__":
    run = jprm.sweep(Path(__file__).with_name("quick.toml"), "name=sums", "world.kind=sums", "grid.ablations=[]")
    print(run.main.name, "F1", run.main.rows[-1].f1)
