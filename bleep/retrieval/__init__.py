"""Retrieval: embeddings, the FAISS index over them, and the reference of measured spots that answers queries."""
