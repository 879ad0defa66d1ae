"""Owns the programs that read and change Hugging Face weights. They run inside Axolotl's environment, not ours: nothing of ours but numpy is there."""
