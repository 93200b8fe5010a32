"""The tasks of GenPRM, one file for each kind, whichever experiment asks for it.

A task holds its own settings: nothing is looked up while it is computed. Its parents are other tasks.

    base -> labels -> verifier --.
      '---> benchmark ------------+--> votes --> search

    settings      the sections of a configuration that tasks are made from
    open_world    a loaded world, its vocabulary and models;  resources: the code pools that tasks share
    base          pretraining;  policy: a base model that writes solutions
    labels        Monte-Carlo values of solutions, whose rollouts are in a `rollout_store`;  label_file: those of a file
    benchmark     sets of solutions to judge;  benchmark_file: those of a file;  delayed_evidence: those for BiPRM
    rationales    the annotator's rationales as training text;  teacher_rationales: those of a teacher
    verifier      fine-tuning on filtered rationales
    votes         sampled votes on a set, kept in a `vote_store`
    checkpoint    a checkpoint on disk as what draws votes, with the `samplers` that it is opened by
    baseline      verifiers with a head, to compare with;  scores: what they say of a set
    search        guided search and the critic;  reward_models: what rewards their steps

Nothing is imported here, because reading a configuration (`jprm.tasks.settings`) must not wait for what computes it.
"""
