"""Agreement with what was measured, and the tables made of it."""
