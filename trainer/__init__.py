"""History to dataset to model to verdict. Knows nothing of HTTP serving."""
