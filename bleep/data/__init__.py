"""From files to checked sections, tiles, panels and splits."""
