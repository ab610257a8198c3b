"""Predictors: each takes tiles and returns a prediction."""
