"""Command lines run somewhere: as processes here, as Slurm jobs, as tasks of a Ray cluster.

Enter by `run_all(open_launcher("local"), trials)`. A trial is a command line that could be run by hand as well; it
leaves its command, log and exit reason in a folder, may be preempted at any time (exit code 75), and is then started
again.
"""

from jprm.launch.launcher import Launcher, open_launcher, run_all
from jprm.launch.trial import LOST, Trial, reason_of, run_trial

__all__ = ["LOST", "Launcher", "Trial", "open_launcher", "reason_of", "run_all", "run_trial"]
