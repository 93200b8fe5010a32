"""jprm: GenPRM, the generative process reward model, in JAX.

A verifier reads a solution step by step, writes an analysis and code, reads what the code printed, and judges the step;
more votes judge better. Every room is entered by its own `__init__`, and imports point down only:

    pipeline                        experiments, wired from the rooms below
    scaling                         curves, fits, figures, the report
    evaluate                        first-error F1, best-of-N, intervals
    label                           Monte-Carlo labels, rationales, the consensus filter
    verify                          the rationale protocol, its driver, the votes
    train, sample, served           fitting a model, sampling from it, here or from a server
    models, data                    the Transformer, packed documents
    mesh, tokenizer, grade, worlds  devices, text, answers, problems with exact truth
    chat                            a checkpoint's own tokenizer and chat template
    doctor                          what this machine has and lacks
    records, config, runs, progress, seeds, execute, errors

Invariant: importing this package imports nothing else, so that a mistake in a command line is answered at once.
"""

__version__ = "0.1.0"

__all__ = ["__version__"]
