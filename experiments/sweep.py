"""Runs a sweep: `python experiments/sweep.py [CONFIG.toml] [key=value ...] [--plan]`.

Without arguments it is the embedded sweep: everything is trained from scratch, and one command ends in a table.
"""

import sys

from jprm.cli import ask_for_huge_pages, sweep_main

if __name__ == "__main__":
    ask_for_huge_pages()
    sys.exit(sweep_main(sys.argv[1:]))
