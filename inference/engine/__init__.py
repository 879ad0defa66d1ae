"""The engine: token ids in, schema-true text out. Knows nothing of features, HTTP or who asks."""
