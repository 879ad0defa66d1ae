"""The verdict on a model: its answers to the gold set, figures with intervals, comparisons, confidence, and the report."""
