"""nemati2022: 27 frozen networks and one small head tell COVID-19 from normal, in five folds.

Abdoli Nemati and BabaAhmadi, "An Investigation on Transfer Learning for Classification of COVID-19 Chest X-Ray
Images with Pre-trained Convolutional-based Architectures".

| where in the paper | what it fixes | here |
|---|---|---|
| III | 180 COVID-19 images of 118 patients, as many RSNA normals, drawn at random | `DATA_SETS` |
| III | normalised; random rotation of 0-45 degrees | `scaling`, `AUGMENTATION` |
| Table I | 27 rows (ResNet152V2 stands twice) and their inputs: 224, 299 or 331 pixels | `NETWORKS` |
| II | convolutional layers frozen; dense 64 ReLU, dropout 0.5, dense 2 | `build` |
| II | Adam 0.002, batch 64, 120 epochs | `CASES` |
| III, V | 80 % to train, 20 % to evaluate and test; five-fold cross-validation | `PROTOCOLS` |

One network on its five folds is `covidcxr-train nemati2022 --data DIR`; `--model all` is the whole paper, 135
models.
"""

from functools import partial

from covidcxr.data.augmentation import Augmentation
from covidcxr.models import backbones, heads
from covidcxr.papers import nemati2022_tables, smoke
from covidcxr.papers.arrangements import ByFolds
from covidcxr.papers.recipe import Case, DataSet, Network, Protocol, Recipe, Stage
from covidcxr.training.optimizers import OptimizerSpec

FOLDS = 5

DATA_SETS = {
    "balanced": DataSet(
        counts={"covid19": 180, "normal": 180},
        sources={"covid19": "covid-chestxray-dataset", "normal": "rsna"},
        # 180 images of 118 patients, 8,851 and 6,012: the numbers are those of rahimzadeh2020's selection.
        reading={"findings": "rahimzadeh2020"},
    )
}


def build(classes, dropout, input_size, key):
    """Build a frozen backbone with the paper's head (section II).

    Parameters
    ----------
    classes : int
    dropout : float
    input_size : int
        Height and width, in pixels.
    key : str
        Of the backbone.

    Returns
    -------
    keras.Model
    """
    return heads.nemati_head(backbones.build(key, (input_size, input_size, 3)), classes, dropout)


def _network(number, key, title, backbone, side):
    again = ", the second of two such rows" if key.endswith("_again") else ""
    return Network(
        title=f"{title}, frozen, dense 64, dense 2 (row {number}{again})",
        build=partial(build, key=backbone),
        backbone=backbone,
        input_size=(side, side),
    )


NETWORKS = {
    key: _network(number, key, title, backbone, properties[-1])
    for number, (key, title, backbone, properties, _) in enumerate(nemati2022_tables.ROWS, start=1)
}

CASES = {
    "balanced": Case(
        "180 images a class",
        data_set="balanced",
        dropout=0.5,
        stages={"adam": (Stage("head", 120, OptimizerSpec("adam", 0.002)),)},
        batch_size=64,
    )
}

AUGMENTATION = Augmentation(rotation_range=45)

# The paper names no tool that resizes; nearest neighbour is the default of the generator that rotates.
INTERPOLATION = "nearest"


def protocols(folds=FOLDS):
    """Return both protocols for a number of folds.

    Parameters
    ----------
    folds : int, optional

    Returns
    -------
    dict of str to Protocol
    """
    return {
        "published": Protocol(
            title="images dealt over the folds at random, the last epoch's weights, tested on the fold",
            arrangement=ByFolds(folds, grouped=False),
            headline="test",
            augment_evaluation=False,
            keep="last",
        ),
        "sound": Protocol(
            title="patients kept together, epoch chosen on a fifth of the training patients, tested on the fold",
            arrangement=ByFolds(folds, grouped=True, validation=0.2),
            headline="test",
            augment_evaluation=False,
            keep="best",
        ),
    }


PROTOCOLS = protocols()

DEVIATIONS = (
    (
        "The images are seeded draws, of 180 COVID-19 images and of as many normals: the paper names no files. "
        "Its 180 images of 118 patients are those of an earlier, smaller state of the source."
    ),
    (
        "'Normalised' is read as the range that each network's own ImageNet weights expect "
        "(scaling='backbone'); the paper says no more."
    ),
    (
        "The paper rotates by 0-45 degrees; as in Keras' ImageDataGenerator, rotation_range=45 draws an angle from "
        "-45 to 45. The gap is filled with the nearest pixel."
    ),
    (
        "Images are resized by nearest neighbour, the default of that generator; the paper names no "
        "interpolation."
    ),
    "The pooling between feature map and dense layer is unstated; ours is global average pooling.",
    (
        "The last layer is a softmax over two classes with categorical cross-entropy; the paper names neither "
        "the activation of the last layer nor the loss."
    ),
    (
        "The paper divides 80 % to 20 % 'for evaluation and testing' and also names five-fold "
        "cross-validation: each fold is the 20 % once, and the published protocol looks at it after every epoch "
        "without choosing by it."
    ),
    (
        "ResNet152V2 stands twice in both tables (rows 2 and 17) with the same numbers: two keys, trained twice, "
        "from the same seed."
    ),
    (
        "Table I's depth is the number of layers that have parameters; the paper mixes Keras' depth of that time "
        "with the number in the network's name. Its size is that of the parameters alone, in MiB."
    ),
    "ResNet101V2 and ResNet152V2 are fed 299x299 as printed; their ImageNet weights were made at 224x224.",
    (
        "Frozen batch normalisation uses its moving statistics, as Keras does since TensorFlow 2; without pretrained "
        "weights they are first fitted to training images."
    ),
)

RECIPE = Recipe(
    key="nemati2022",
    title=(
        "An Investigation on Transfer Learning for Classification of COVID-19 Chest X-Ray Images with Pre-trained "
        "Convolutional-based Architectures"
    ),
    reference="Abdoli Nemati and BabaAhmadi (2022)",
    doi="",
    data_sets=DATA_SETS,
    networks=NETWORKS,
    cases=CASES,
    protocols=PROTOCOLS,
    augmentation=AUGMENTATION,
    interpolation=INTERPOLATION,
    scaling="backbone",
    positive_class="covid19",
    deviations=DEVIATIONS,
    claims=nemati2022_tables.claims(),
    folds=FOLDS,
    default_fold="all",
    # Among the networks that the paper gives as perfect, the smallest.
    default_network="mobilenet",
    default_case="balanced",
    tables=nemati2022_tables.TABLES,
    smoke={
        "data_sets": smoke.data_sets(DATA_SETS),
        "networks": smoke.networks(NETWORKS),
        "cases": smoke.cases(CASES),
        "folds": 2,
        "protocols": protocols(folds=2),
    },
)
