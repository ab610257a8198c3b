"""`bleep export`: a prediction in the forms of other programs."""

import argparse
from pathlib import Path

from bleep.cli.flags import MANY
from bleep.errors import ConfigError


def add(parser: argparse.ArgumentParser) -> None:
    """Add the flags."""
    parser.add_argument("predictions", type=Path, help="what `bleep query` wrote: .h5ad or .zarr")
    parser.add_argument(
        "--geojson", type=Path, default=None, metavar="OUT", help="for QuPath: a .geojson, or a folder for several sections"
    )
    parser.add_argument(
        "--spatialdata", type=Path, default=None, metavar="OUT.zarr", help="a SpatialData store, as napari-spatialdata opens it"
    )
    parser.add_argument("--genes", **MANY, metavar="GENE", help="these genes alone (default: all; GeoJSON: 200)")
    parser.add_argument("--all-genes", action="store_true", help="GeoJSON: all genes, not the 200 that vary most")
    parser.set_defaults(run_command=_export)


def _export(arguments: argparse.Namespace) -> int:
    if arguments.geojson is None and arguments.spatialdata is None:
        raise ConfigError("bleep export: say what to write, with --geojson OUT or --spatialdata OUT.zarr")
    from bleep.viz import export as handing_over

    with handing_over.opened(arguments.predictions) as predicted:
        if arguments.geojson is not None:
            written = handing_over.write_geojson(predicted, arguments.geojson, arguments.genes, all_genes=arguments.all_genes)
            for path, section in zip(written, predicted.sections, strict=True):
                print(f"{path}: {len(predicted.rows(section))} tiles; drop it onto the slide in QuPath")
        if arguments.spatialdata is not None:
            elements = handing_over.write_spatialdata(predicted, arguments.spatialdata, arguments.genes)
            print(f"{arguments.spatialdata}: {', '.join(elements)}")
    return 0
