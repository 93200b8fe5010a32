"""Runs a sweep: `python experiments/sweep.py [CONFIG.toml] [key=value ...] [--plan]`.

Without arguments it is the embedded sweep: everything is trained from scratch, and one command ends in a table.
"""

import sys

from jprm.signals import leave, take_signals

if __name__ == "__main__":
    take_signals()  # before the rest is loaded, which takes a while

    from jprm.cli import ask_for_huge_pages, sweep_main

    ask_for_huge_pages()
    leave(sweep_main(sys.argv[1:]))
