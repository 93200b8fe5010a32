"""Counts of judgements against the truth, as the measures take them."""

import numpy as np

from jprm.evaluate.confusion import FN, FP, TN, TP


def confusion(labels, judgements):
    """(TP, FP, TN, FN) [n, 4] for each solution; None as a judgement is wrong, as a label it counts nowhere."""
    counts = np.zeros((len(labels), 4))
    for index, (truth, judged) in enumerate(zip(labels, judgements, strict=True)):
        for label, judgement in zip(truth, judged, strict=True):
            if label is True:
                counts[index, TP if judgement is True else FN] += 1
            elif label is False:
                counts[index, TN if judgement is False else FP] += 1
    return counts
