"""The wiring: how rooms that do not know each other become one sweep.

Enter by `run_sweep(config, command)` or `print_plan(config)`. A sweep is a set of cells (`cells`); a cell needs tasks
(`base`, `labels`, `benchmark`, `verifier`, `votes`), each computed once into a content-addressed stage (`lab`); what
they stored becomes numbers (`table`), comparisons (`findings`) and a page (`report`).

    base -> labels -> verifier --.
      '---> benchmark ------------+--> votes -> table -> findings -> report

Nothing is imported here, because reading a configuration (`jprm.pipeline.config`) must not wait for what computes it.
"""

__all__: list[str] = []
