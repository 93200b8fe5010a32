"""Experiments: each is its configuration, its list of tasks and its rows. What they share lies below them.

    sweep          verifiers over sizes, examples, seeds and ablations: `experiments/sweep.py`
    synthesize     a teacher's rationales for a sweep's labels, as a training file: `python -m jprm synthesize`
    benchmark      a checkpoint's table on a file of judged solutions: `python -m jprm evaluate`
    applications   verifiers at choosing, searching and criticising: `experiments/uses.py`, `python -m jprm search`
    laws           scaling laws of any table of runs: `python -m jprm laws`

Nothing is imported here, because reading a configuration must not wait for what computes it.
"""
