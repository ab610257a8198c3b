"""Image trunks, by the library they come from."""
