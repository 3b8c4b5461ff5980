"""ragab2022: a frozen MobileNetV2 and one dense layer tell COVID-19 from normal.

Ragab et al., "COVID-19 Identification System Using Transfer Learning Technique With Mobile-NetV2 and Chest
X-Ray Images", Frontiers in Public Health 10:819156 (2022), doi:10.3389/fpubh.2022.819156.

| where in the paper | what it fixes | here |
|---|---|---|
| Fig. 2, Fig. 12 | TF-Hub MobileNetV2 features, 224x224, frozen; dropout; dense 2; 2,260,546 parameters | `hub` |
| steps 1-5 | keras.applications MobileNet or MobileNetV2 at 128x128, average pooling, dense 2 | `prose-...` |
| Table 4 | ImageDataGenerator's parameters, for training and for testing | `AUGMENTATION` |
| Fig. 3, Fig. 13 | A = 102 + 207, B = 102 + 414; 20 % to validate: 61 and 102 images | `DATA_SETS` |
| Evaluation Results | Adam 1e-3 for ten epochs, then 1e-5 for 31 | schedule `adam` |
| step 5 | RMSprop 1e-4, binary cross-entropy | schedule `rmsprop` |

The default case, `covidcxr-train ragab2022 --data DIR`, takes a minute or two on two CPU cores.
"""

from functools import partial

from covidcxr.data.augmentation import Augmentation
from covidcxr.models import heads
from covidcxr.papers import smoke
from covidcxr.papers.arrangements import ByFractions
from covidcxr.papers.recipe import Case, Claim, DataSet, Network, Protocol, Recipe, Stage, Table
from covidcxr.papers.tables import headline, layout
from covidcxr.training.optimizers import OptimizerSpec

SOURCES = {"covid19": "covid-chestxray-dataset", "normal": "rsna"}

DATA_SETS = {
    "A": DataSet(counts={"covid19": 102, "normal": 207}, sources=SOURCES),
    "B": DataSet(counts={"covid19": 102, "normal": 414}, sources=SOURCES),
}

NETWORKS = {
    "hub": Network(
        title="TF-Hub MobileNetV2 feature vector, frozen, dropout, dense 2 (Fig. 2)",
        build=heads.ragab_head,
        backbone="mobilenet_v2",
        input_size=(224, 224),
        total_parameters=2_260_546,
        trainable_parameters=2_562,
    ),
    "prose-mobilenetv2": Network(
        title="keras.applications MobileNetV2 at 128x128, frozen, average pooling, dense 2 (steps 3 and 4)",
        build=partial(heads.ragab_prose_head, backbone="mobilenet_v2"),
        backbone="mobilenet_v2",
        input_size=(128, 128),
    ),
    "prose-mobilenet": Network(
        title="keras.applications MobileNet at 128x128, as the call in step 3 names it",
        build=partial(heads.ragab_prose_head, backbone="mobilenet"),
        backbone="mobilenet",
        input_size=(128, 128),
    ),
}

_TEN_EPOCHS = Stage("head", 10, OptimizerSpec("adam", 1e-3))
_ADAM = (_TEN_EPOCHS, Stage("fine-adjustment", 31, OptimizerSpec("adam", 1e-5)))
# The prose names RMSprop without epochs: as many as the other reading has in all.
_RMSPROP = (Stage("head", 41, OptimizerSpec("legacy_rmsprop", 1e-4), loss="binary_crossentropy"),)
_RMSPROP_TEN = (Stage("head", 10, OptimizerSpec("legacy_rmsprop", 1e-4), loss="binary_crossentropy"),)

CASES = {
    "A": Case(
        "data set A, dropout 0.4", data_set="A", dropout=0.4, stages={"adam": _ADAM, "rmsprop": _RMSPROP}
    ),
    "B": Case(
        "data set B, dropout 0.4", data_set="B", dropout=0.4, stages={"adam": _ADAM, "rmsprop": _RMSPROP}
    ),
    "B10": Case(
        "data set B, ten epochs, dropout 0.5",
        data_set="B",
        dropout=0.5,
        stages={"adam": (_TEN_EPOCHS,), "rmsprop": _RMSPROP_TEN},
    ),
}

AUGMENTATION = Augmentation(
    rescale=1 / 255,
    horizontal_flip=True,
    vertical_flip=True,
    zoom_range=(0.5, 1.0),
    featurewise_center=True,
    samplewise_center=True,
    rotation_range=90,
    width_shift_range=(-20, 20),
    height_shift_range=0.5,
    brightness_range=(0.5, 1.0),
    channel_shift_range=0.0,
    shear_range=0.0,
    fill_mode="nearest",
    validation_split=0.2,
)

PROTOCOLS = {
    "published": Protocol(
        title="images drawn at random, 20 % of each class for validation, which is also what is reported",
        arrangement=ByFractions({"val": 0.2}, grouped=False),
        headline="val",
        augment_evaluation=True,
        keep="last",
    ),
    "sound": Protocol(
        title="patients kept together, epoch chosen on validation, reported on test patients, nothing augmented",
        arrangement=ByFractions({"val": 0.16, "test": 0.2}, grouped=True),
        headline="test",
        augment_evaluation=False,
        keep="best",
    ),
}

CLAIMS = (
    Claim("A", "accuracy", 0.9508, "Table 5", "58 of 61 validation images; the abstract says 95.8 %"),
    Claim("A", "loss", 0.09, "Table 5"),
    Claim("A", "precision", 1.0, "Table 6", "Fig. 5 prints 84.6 %"),
    Claim("A", "sensitivity", 1.0, "Table 6"),
    Claim("A", "f1", 0.95, "Table 6", "Fig. 5 prints 91.7 %; 1.0 and 1.0 would give 1.0"),
    Claim(
        "A", "roc_auc", 0.95, "Table 8", "what the hard labels of Fig. 5 give: (11/11 + 19/21) / 2 = 0.952"
    ),
    Claim("B", "accuracy", 1.0, "Table 5"),
    Claim("B", "loss", 0.06, "Table 5"),
    Claim("B", "precision", 1.0, "Table 6"),
    Claim("B", "sensitivity", 1.0, "Table 6"),
    Claim("B", "f1", 1.0, "Table 6"),
    Claim("B", "roc_auc", 1.0, "Table 8"),
    Claim("B10", "accuracy", 0.9902, "Table 5", "101 of 102 validation images"),
    Claim("B10", "loss", 0.02, "Table 5"),
    Claim("B10", "precision", 1.0, "Table 6", "on one batch of 32"),
    Claim("B10", "sensitivity", 1.0, "Table 6", "on one batch of 32"),
    Claim("B10", "f1", 1.0, "Table 6", "Table 7 prints 25 7 / 0 7, Fig. 14 8 0 / 0 24"),
    Claim("B10", "roc_auc", 1.0, "Table 8"),
)

DEVIATIONS = (
    "The 102 COVID-19 and the normal images are a seeded draw: the paper does not name its files.",
    (
        "The validation images are drawn at random within each class; Keras' own validation_split takes the "
        "first 20 % of each class by file name. Both give the paper's 61 and 102 images."
    ),
    (
        "Feature-wise centring is named in Table 4 but does nothing in Keras unless the generator is fitted, "
        "which flow_from_directory never does; it is left without effect."
    ),
    "Every validation pass scores the same augmented copies; Keras' generator draws new ones each time.",
    (
        "The text's 'fine-adjustment' stage keeps the backbone frozen, since the printed summary has 2,562 "
        "trainable parameters; --fine-tune all trains it."
    ),
    "The abstract's dropout of 0.3 appears nowhere else; 0.4 and 0.5 are the figures' values.",
    (
        "Reading 'prose' feeds the generator's rescaled and centred images straight into keras.applications' "
        "network, as the steps say, although its ImageNet weights expect -1 to 1."
    ),
    "The prose gives RMSprop no number of epochs; it gets as many as the Adam schedule has.",
)


def _table(scoring, columns):
    """Return how to lay out one of Tables 5 to 8: a row a case, named as the paper does."""

    def make(results, models):
        table = layout(headline(results, scoring), ["case", "model"], columns)
        table["case"] = table["case"].map({key: case.title for key, case in CASES.items()})
        return table.rename(columns={"case": "Data set"})

    return make


TABLES = {
    "table5": Table(
        "Table 5. Final loss and final accuracy for all data sets",
        _table("published", {"Final loss": "log_loss", "Final accuracy": "accuracy"}),
    ),
    "table6": Table(
        "Table 6. Precision, recall and F1 score for all data sets",
        _table(
            "batch",
            {
                "Precision": ("precision", "covid19"),
                "Recall": ("sensitivity", "covid19"),
                "F1 score": ("f1", "covid19"),
            },
        ),
    ),
    "table7": Table(
        "Table 7. Confusion matrix for all data sets",
        _table(
            "batch",
            {
                "normal as normal": ("true_negatives", "covid19"),
                "normal as COVID-19": ("false_positives", "covid19"),
                "COVID-19 as normal": ("false_negatives", "covid19"),
                "COVID-19 as COVID-19": ("true_positives", "covid19"),
            },
        ),
    ),
    "table8": Table(
        "Table 8. ROC curve area for all data sets",
        # The area of hard labels, which is what Table 8 holds (see the claims).
        _table("batch", {"Roc curve area": "balanced_accuracy"}),
    ),
}

RECIPE = Recipe(
    key="ragab2022",
    title="COVID-19 Identification System Using Transfer Learning Technique With Mobile-NetV2",
    reference="Ragab et al., Frontiers in Public Health 10:819156 (2022)",
    doi="10.3389/fpubh.2022.819156",
    data_sets=DATA_SETS,
    networks=NETWORKS,
    cases=CASES,
    protocols=PROTOCOLS,
    augmentation=AUGMENTATION,
    # flow_from_directory resizes by nearest neighbour unless told otherwise.
    interpolation="nearest",
    positive_class="covid19",
    deviations=DEVIATIONS,
    claims=CLAIMS,
    # Figs. 5, 9 and 14, and Tables 6 and 7, are computed on one batch of 32 validation images.
    figures_batch=32,
    default_network="hub",
    default_case="B10",
    tables=TABLES,
    smoke={
        "data_sets": smoke.data_sets(DATA_SETS, 20),
        "networks": smoke.networks(NETWORKS),
        "cases": smoke.cases(CASES),
    },
)
