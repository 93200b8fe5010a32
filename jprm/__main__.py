"""`python -m jprm`."""

from jprm.signals import leave, take_signals

if __name__ == "__main__":
    take_signals()  # before the rest is loaded, which takes a while

    from jprm.cli import main

    leave(main())
