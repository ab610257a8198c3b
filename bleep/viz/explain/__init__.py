"""A tile explained by its neighbours in the reference."""
