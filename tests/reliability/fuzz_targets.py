"""What is fuzzed: each reader of the package that is given files from elsewhere, with how its files are damaged."""

from collections.abc import Callable
from dataclasses import dataclass

import fuzz_images
import fuzz_networks
import fuzz_runs
import fuzz_tables
import fuzz_weights
from fuzz_containers import items, members
from fuzz_formats import chunks, elements, segments
from fuzz_mutations import any_bytes, cells, either, nodes

FILES, NETWORKS = "files", "networks"
GROUPS = (FILES, NETWORKS)


@dataclass(frozen=True)
class Target:
    """A reader.

    Attributes
    ----------
    group : str
        Readers of one group share a process: `NETWORKS` imports TensorFlow.
    share : int
        Of the inputs, in proportion to the others'; formats that are slow to read have less.
    seeds : callable
        ``seeds(folder)`` lays out what must stand around the damaged file, and returns (place, valid bytes) of each
        file that may be the damaged one. The same bytes in every process.
    damage : callable
        ``damage(rng, data, others)`` returns changed bytes.
    read : callable
        ``read(folder, place)`` reads as a command does. It may return anything or raise a `CovidcxrError`.
    """

    group: str
    share: int
    seeds: Callable
    damage: Callable
    read: Callable


def _by_kind(rng, data, others):
    """Damage JSON as JSON, all else as a table."""
    kind = nodes if data[:1] in (b"{", b"[") else cells
    return either(kind, plain=0.15)(rng, data, others)


def _described(rng, data, others):
    inside = members(fuzz_networks.inside_keras) if data[:2] == b"PK" else items
    return either(inside, plain=0.15)(rng, data, others)


_TABLE = either(cells, plain=0.2)

TARGETS = {
    "jpeg": Target(FILES, 16, fuzz_images.jpegs, either(segments), fuzz_images.read_image),
    "png": Target(FILES, 16, fuzz_images.pngs, either(chunks), fuzz_images.read_image),
    "tiff": Target(FILES, 8, fuzz_images.tiffs, any_bytes, fuzz_images.read_image),
    "bmp": Target(FILES, 4, fuzz_images.bmps, any_bytes, fuzz_images.read_image),
    "dicom": Target(FILES, 16, fuzz_images.dicoms, either(elements), fuzz_images.read_image),
    "dicom headers": Target(
        FILES, 4, fuzz_images.rsna_dicoms, either(elements), fuzz_images.read_rsna_headers
    ),
    "metadata.csv": Target(FILES, 6, fuzz_tables.chest, _TABLE, fuzz_tables.read_chest),
    "fold lists": Target(FILES, 3, fuzz_tables.folds, _TABLE, fuzz_tables.read_folds),
    "rsna tables": Target(FILES, 4, fuzz_tables.rsna, _TABLE, fuzz_tables.read_source),
    "own table": Target(FILES, 6, fuzz_tables.own, _TABLE, fuzz_tables.read_table),
    "records": Target(FILES, 4, fuzz_tables.records, _TABLE, fuzz_tables.read_records),
    "split.csv": Target(FILES, 6, fuzz_tables.split, _TABLE, fuzz_tables.read_split),
    "predictions.csv": Target(FILES, 6, fuzz_tables.predictions, _TABLE, fuzz_tables.read_predictions),
    "shipped models": Target(FILES, 2, fuzz_tables.shipped, _TABLE, fuzz_tables.read_shipped),
    "phantom": Target(FILES, 3, fuzz_tables.phantom, _by_kind, fuzz_tables.read_phantom),
    "run": Target(FILES, 6, fuzz_runs.run, _by_kind, fuzz_runs.read_run),
    "audited run": Target(FILES, 4, fuzz_runs.audited, _by_kind, fuzz_runs.read_audited),
    "resumed run": Target(FILES, 4, fuzz_runs.begun, _by_kind, fuzz_runs.read_begun),
    "results": Target(FILES, 3, fuzz_runs.results, _TABLE, fuzz_runs.read_results),
    "pth": Target(FILES, 8, fuzz_weights.torch_weights, fuzz_weights.inside_torch, fuzz_weights.read_torch),
    "caffemodel": Target(FILES, 6, fuzz_weights.caffe_weights, any_bytes, fuzz_weights.read_caffe),
    "decoded cache": Target(FILES, 2, fuzz_weights.decoded, any_bytes, fuzz_weights.read_decoded),
    "feature cache": Target(
        FILES, 2, fuzz_weights.features, either(fuzz_weights.inside_features), fuzz_weights.read_features
    ),
    "model facts": Target(FILES, 6, fuzz_networks.described, _described, fuzz_networks.read_description),
    "model.h5": Target(NETWORKS, 4, fuzz_networks.h5_models, either(items), fuzz_networks.read_model),
    "model.keras": Target(
        NETWORKS,
        4,
        fuzz_networks.keras_models,
        either(members(fuzz_networks.inside_keras)),
        fuzz_networks.read_model,
    ),
    "weights.h5": Target(NETWORKS, 5, fuzz_networks.weights, either(items), fuzz_networks.read_weights),
    "checkpoint": Target(
        NETWORKS, 3, fuzz_networks.checkpoints, fuzz_networks.inside_checkpoint, fuzz_networks.read_checkpoint
    ),
}
