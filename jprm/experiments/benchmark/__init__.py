"""A checkpoint's table on a file of judged solutions: `python -m jprm evaluate`.

Enter by `run.run_benchmark(config.read_config(...))`. The votes are the task `jprm.tasks.votes.Votes`, drawn by a
`jprm.tasks.checkpoint.CheckpointSampling` and stored one by one; the table is a function of what is stored. So it can
be had again without the model, with more votes later, and after any number of interruptions.

    config     what can be asked
    run        computes the votes that are missing, and concludes
    judged     which of the stored votes count, and what they cost
    measures   every number, with its interval
    report     the table, and the same as JSON

Nothing is imported here, because reading a configuration must not wait for what computes it.
"""
