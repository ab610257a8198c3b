"""One page that opens offline: the comparison, the leak report, the settings, and the tissue to look at."""

from bleep.viz.page.write import Cell, Column, Grid, Nearest, Page, TissueView, write_page

__all__ = ["Cell", "Column", "Grid", "Nearest", "Page", "TissueView", "write_page"]
