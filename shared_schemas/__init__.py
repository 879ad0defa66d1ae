"""What a feature is: its prompt input, its output, its wording, what makes an answer wrong.

Pure: knows nothing of files, networks, environments, Supabase, llama.cpp or training.
"""
