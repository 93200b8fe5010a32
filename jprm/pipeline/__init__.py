"""The wiring: how rooms that do not know each other become one sweep.

Enter by `sweep_command(arguments)`. A sweep is a grid of points (`axes`), each a configuration with its cells
(`cells`); a cell needs tasks (`base`, `labels`, `benchmark`, `verifier`, `votes`), each computed once into a
content-addressed stage (`lab`); what they stored becomes numbers (`curves`, `table`), comparisons (`findings`) and a
page (`report`). One process does it all (`sweep`), or several workers do (`worker`), which `launch` starts.

    base -> labels -> verifier --.
      '---> benchmark ------------+--> votes -> table -> findings -> report

Nothing is imported here, because reading a configuration (`jprm.pipeline.config`) must not wait for what computes it.
"""

__all__: list[str] = []
