"""The applications: verifiers at choosing, searching and criticising, with their baselines, measured side by side.

    config, search_choices     what can be set
    tasks                      who judges what, and what searches
    judgements                 what was said of solutions, in one form
    grid                       verifiers side by side;  pool: choosing among candidates;  passes: several readings
    guided, refined, gates     searches, the critic and its gates, against best-of-N at equal compute
    run, report                the tasks done, their rows, the table and the page
    search_command             one search on a finished sweep: `python -m jprm search`

Nothing is imported here, because reading a configuration must not wait for what computes it.
"""
