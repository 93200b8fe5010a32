"""Labels without a labeller: values by rollouts, progress rules, rationales, consensus filter.

Enter by `value_problems` (solutions with Monte-Carlo values, resumable), turn values into labels with
`relative_progress` and its siblings (`label_rule` knows them by name, and registers rules of one's own), write the
training conversations with `synthesize`, and keep those on which labels and executed checks agree with
`filter_conversations`. A teacher's attempts are read by `read_attempt` and laid out by `taught_conversation` and
`write_messages`. `agreement` tells whether two sets of rollouts say the same. `sample_solutions` draws plain solutions
for test items and best-of-N. The sampler is whatever satisfies `jprm.sampling.Sampler`; nothing here imports JAX.
"""

from jprm.label.agreement import Agreement, agreement
from jprm.label.consensus import Counts, filter_conversations
from jprm.label.progress import (
    difference_labels,
    first_error_of,
    hard_labels,
    label_rule,
    relative_progress,
    rollouts_needed,
    truncate,
)
from jprm.label.rationales import Check, Conversation, synthesize
from jprm.label.rollouts import (
    MALFORMED,
    TOO_LONG,
    ProblemValues,
    RolloutSettings,
    ValuedSolution,
    sample_solutions,
    value_problems,
)
from jprm.label.runner import LostProblem, RolloutLog, RolloutRequest, WrittenSolution
from jprm.label.teacher import JudgedStep, fault_of, read_attempt, taught_conversation, write_messages, write_rationales
