"""Puts verifiers to work: `python experiments/uses.py [CONFIG.toml] [key=value ...]`.

Verifiers and their baselines are compared on the embedded world: at choosing, searching, criticising.
"""

import sys

from jprm.signals import leave, take_signals

if __name__ == "__main__":
    take_signals()  # before the rest is loaded, which takes a while

    from jprm.cli import ask_for_huge_pages, uses_main

    ask_for_huge_pages()
    leave(uses_main(sys.argv[1:]))
