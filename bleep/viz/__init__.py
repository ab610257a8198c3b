"""Everything to look at: figures, the report page, explanations, and export to other programs."""
