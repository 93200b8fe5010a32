"""The sweep: verifiers over model sizes, training examples, seeds and ablations, from one configuration to one page.

    config         what can be set;  axes: a declared grid over any key
    cells          the tasks that one configuration asks for, and the cells of the table
    run            computes the tasks, alone or as workers, and concludes
    plan           what would run and what it would cost;  machine_speed measures for it
    curves, table  from stored votes to rows
    comparisons, laws, equal_compute, findings     what the rows show
    report, report_tables, figures                 the page and the printed tables
    finished, compare, export                      what can be done with a finished sweep

Nothing is imported here, because reading a configuration must not wait for what computes it.
"""
