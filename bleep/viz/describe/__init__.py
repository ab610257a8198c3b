"""A description of the data before training: tables, embeddings and figures."""
