"""jprm: GenPRM, the generative process reward model, in JAX.

A verifier reads a solution step by step, writes an analysis and code, reads what the code printed, and judges the step;
more votes judge better. Every room is entered by its own `__init__`, and imports point down only:

    cli                         commands: words and defaults
    experiments                 the sweep, the benchmarks, the applications, the laws
    tasks                       what experiments are made of: one file for each kind of work
    search, report              better solutions by rewards; tables, figures, pages
    scaling, evaluate           laws of size, data and votes; scores with their intervals
    label, score                Monte-Carlo labels, rationales, the consensus filter; scorers by name
    verify                      the rationale protocols, their driver, the votes
    train, sample, openai       fitting a model, sampling from it, here or from a server
    worlds, models, data        problems with exact truth; the Transformer; packed documents
    grade, doctor               equal answers; what this machine has and lacks
    jobs, execute               stages of work that may be killed; generated code in a jail
    chat, formats               a checkpoint's tokenizer and chat template; the layouts of public files
    sampling, records, config   and the other files beside this one: the vocabulary that all rooms share

Invariant: importing this package imports nothing else, so that a mistake in a command line is answered at once.
"""

__version__ = "0.1.0"

__all__ = ["__version__"]
