"""The networks: a timm trunk for tiles, a perceptron for expression, heads on both."""
