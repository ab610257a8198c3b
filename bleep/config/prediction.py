"""The index, and how neighbours become a prediction."""

from typing import Annotated, Literal, get_args

from pydantic import Field, PositiveFloat, PositiveInt

from bleep.config.base import Settings, known

KindName = Literal["auto", "flat", "ivf", "ivfpq", "hnsw", "sq", "diskann"]
StoreName = Literal["faiss", "milvus"]
KeysName = Literal["expression", "image", "both"]
GpuName = Literal["auto", "none"]
GpusName = Literal["replicas", "shards"]
WeightsName = Literal["uniform", "softmax", "distance", "adaptive"]

MemberName = Literal[
    "retrieval",
    "regression",
    "ridge",
    "robust ridge",
    "image-kNN by section",
    "ridge on colour by section",
    "ridge on stains",
    "component retrieval",
]
ABSTAIN = 0.01
"""Share of left-out training tiles below which a tile's familiarity marks it, unless said otherwise."""


class IndexConfig(Settings):
    """The index of the reference."""

    store: StoreName = "faiss"
    """What searches: `faiss`, in this process; `milvus`, a collection of a Milvus server or of a file of Milvus Lite."""
    uri: str = ""
    """Milvus: `http://HOST:19530`, or a file ending in .db for Milvus Lite; token and database come from the environment,
    MILVUS_TOKEN and MILVUS_DB."""
    kind: Annotated[str, known("indexes", get_args(KindName))] = "auto"
    """`flat` is exact; `ivf` looks through some lists of vectors, `sq` the same at 8 bits a number, `ivfpq` product codes,
    `hnsw` a graph, `diskann` (Milvus) one on disk; `auto` takes `flat` up to 50 million numbers, then the first of `ivf`,
    `sq`, `ivfpq` that fits."""
    keys: KeysName = "expression"
    """What a measured spot is found by: its embedded `expression`, as in BLEEP; its own tile's embedded `image`; or `both`, by
    the mean of the two similarities."""
    memory: PositiveFloat | None = None
    """GB that the index may take; `auto` and the refinement of `ivfpq` keep to it. No limit by default."""
    recall: float = Field(default=0.95, gt=0.0, le=1.0)
    """Share of the 50 true nearest that an approximate kind is tuned to find when it is built."""
    gpu: GpuName = "auto"
    """`auto`: build and search on GPUs where FAISS finds them (flat, ivf, sq); `none`: on the CPU."""
    gpus: GpusName = "replicas"
    """Several GPUs hold the whole index each (`replicas`, faster), or a part each (`shards`, larger)."""
    expression: Literal["auto", "dense", "half", "sparse"] = "auto"
    """How the spots' values are kept: `dense` float32, `half` float16, `sparse` rows; `auto` goes by size and zeros."""


class QueryConfig(Settings):
    """How neighbours become a prediction."""

    views: Literal[1, 2, 4, 8] = 1
    """Turned and mirrored views of each tile whose features are averaged at prediction."""

    k: PositiveInt = 50
    """Reference spots averaged for each tile."""
    weights: WeightsName = "uniform"
    """`uniform`, `softmax` of the similarity, inverse `distance`, or `adaptive`: only those nearly as similar as the best."""
    temperature: PositiveFloat = 0.1
    """Temperature of the softmax weights; under `adaptive`, how much less similar than the best a neighbour may be."""
    interval: float = Field(default=0.9, ge=0.5, le=0.99)
    """Share of measured values that the intervals of a calibrated run are to hold."""
    batch: PositiveInt = 64
    """Tiles embedded at a time."""
    members: tuple[MemberName, ...] = ()
    """What a calibrated run combines; none: retrieval, regression and ridge, each where the run has it, and where subjects
    are held out (`data.split: patient`) also the simple members that travel best."""
