"""`python -m jprm`."""

import sys

from jprm.cli import main

sys.exit(main())
