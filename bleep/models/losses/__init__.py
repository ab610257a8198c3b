"""Losses as pure functions of tensors, and the gather that makes them global."""
