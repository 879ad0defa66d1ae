"""The first half of training: history and a teacher's examples in, a versioned dataset out; one file a stage.

Knows nothing of models: what a dataset is trained into is the trainer's other half.
"""
