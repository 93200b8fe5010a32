"""A model that writes what a script says, whoever serves it: what it draws hangs on the text alone."""

import numpy as np

REPLIES = {  # what stands before, and what the model goes on with
    "step by step: ": "8 and 3 make 11 \u2705 or so.</analyze>\n",
    "potential error:\n```python\n": "print(8 + 3)\n```\n",
    "[Code Output]\n\n```\n11\n```\n": "It is 11.\n<output>\n**Judgement**: $\\boxed{Yes}$\n</output>\n",
    "\\boxed": "{Yes}$\n</output>\n",
}


def reply(text, counting):
    """Returns what the scripted model has still to write after a text."""
    for before, says in REPLIES.items():
        at = text.rfind(before)
        if at >= 0 and says.startswith(said := text[at + len(before) :]):
            return says[len(said) :]
    return counting


def drawer(codec, counting="13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23"):
    """A server's `draw`. Log-probabilities: -0.1 for the token drawn, lower for all others.

    counting: what it says where the script has nothing.
    """

    def draw(ids, body):
        drawn, stops = [], body.get("stop", [])
        matched = ""
        for token in [*codec.encode(reply(codec.spell(ids), counting)), codec.eos_id][: body["max_tokens"]]:
            drawn.append(token)
            text = codec.decode(drawn)
            matched = next((s for s in stops if s in text), token == codec.eos_id and token)
            if matched or matched == codec.eos_id and token == codec.eos_id:
                break
            matched = ""
        table = np.tile(-2.0 - np.arange(codec.vocab_size), (len(drawn), 1))
        table[:, [codec.token_id("Yes"), codec.token_id("No")]] = -1.0
        table[np.arange(len(drawn)), drawn] = -0.1
        return drawn, table, matched

    return draw
