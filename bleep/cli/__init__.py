"""The command line: commands parse, call the pipeline and print."""
