"""One page that opens offline: the comparison, the leak report, the settings, and the tissue to look at."""

from bleep.viz.page.content import Cell, Column, Grid, Nearest, Page, TissueView, tiles_folder
from bleep.viz.page.write import write_page

__all__ = ["Cell", "Column", "Grid", "Nearest", "Page", "TissueView", "tiles_folder", "write_page"]
