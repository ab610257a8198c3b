"""The map of a section, drawn by Bokeh; everything about it that moves is moved by the page's own script."""

import json
from typing import TYPE_CHECKING, Any

from bleep.errors import ConfigError

if TYPE_CHECKING:
    from bokeh.plotting import figure

WIDTH, HEIGHT = 760, 640
"""Of the map, in pixels of the screen, before it is fitted to the window."""


def tissue_map() -> dict[str, Any]:
    """Return an empty map as Bokeh's JSON: a picture, spots coloured by `value`, a colour bar, and the tools to look around.

    Models are found by name: picture, spots, marks, colours, bar, and the ranges of the plot named tissue.
    """
    _require()
    from bokeh.embed import json_item
    from bokeh.models import ColorBar, ColumnDataSource, HoverTool, ImageURL, LinearColorMapper, Range1d, TapTool
    from bokeh.palettes import Cividis256
    from bokeh.plotting import figure

    picture = ColumnDataSource({"url": [], "x": [], "y": [], "w": [], "h": []}, name="picture")
    spots = ColumnDataSource({"x": [], "y": [], "r": [], "value": [], "id": [], "says": []}, name="spots")
    marks = ColumnDataSource({"x": [], "y": [], "r": []}, name="marks")
    colours = LinearColorMapper(palette=list(Cividis256), low=0, high=1, nan_color="rgba(128,128,128,0.35)", name="colours")
    plot = figure(
        name="tissue",
        width=WIDTH,
        height=HEIGHT,
        sizing_mode="stretch_width",
        match_aspect=True,
        x_range=Range1d(0, 1),
        y_range=Range1d(-1, 0),
        tools="pan,wheel_zoom,box_zoom,reset",
        active_scroll="wheel_zoom",
        toolbar_location="above",
        output_backend="canvas",
    )
    plot.add_glyph(picture, ImageURL(url="url", x="x", y="y", w="w", h="h", anchor="top_left"), name="h_and_e")
    drawn = plot.circle(
        "x", "y", radius="r", source=spots, name="circles", line_color=None,
        fill_color={"field": "value", "transform": colours},
        nonselection_fill_alpha=1.0, nonselection_line_color=None, selection_line_color="#D55E00", selection_line_width=3,
    )  # fmt: skip
    plot.circle("x", "y", radius="r", source=marks, fill_color=None, line_color="#D55E00", line_width=2)
    plot.add_tools(HoverTool(renderers=[drawn], tooltips=[("spot", "@id"), ("value", "@says")]), TapTool(renderers=[drawn]))
    plot.add_layout(ColorBar(color_mapper=colours, name="bar", width=14), "right")
    _quiet(plot)
    return dict(json_item(plot, "map"))


def script() -> str:
    """Return Bokeh's own script, to stand inside the page."""
    _require()
    from bokeh.resources import Resources

    return "\n".join(Resources(mode="inline", components=["bokeh"]).js_raw)


def palettes() -> str:
    """Return the colours as JSON: one way for values, two ways for differences; both safe for the colour-blind."""
    _require()
    from bokeh.palettes import Cividis256, PuOr11, interp_palette

    return json.dumps({"value": list(Cividis256), "difference": list(interp_palette(PuOr11, 255))})


def _quiet(plot: "figure") -> None:
    plot.axis.visible = False
    plot.grid.visible = False
    plot.outline_line_color = None
    plot.background_fill_alpha = 0
    plot.border_fill_alpha = 0
    plot.toolbar.logo = None


def _require() -> None:
    try:
        import bokeh  # noqa: F401
    except ImportError:
        raise ConfigError("a page needs Bokeh, which is not installed: pip install -e '.[report]' in bleep's clone") from None
