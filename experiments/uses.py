"""Puts verifiers to work: `python experiments/uses.py [CONFIG.toml] [key=value ...]`.

Verifiers and their baselines are compared on the embedded world: at choosing, searching, criticising.
"""

import sys

from jprm.cli import ask_for_huge_pages, uses_main

if __name__ == "__main__":
    ask_for_huge_pages()
    sys.exit(uses_main(sys.argv[1:]))
