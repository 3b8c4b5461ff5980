"""khalifa2020: four small networks, trained without and with images that a DCGAN adds, tell pneumonia from normal.

Khalifa, Taha, Hassanien and Elghamrawy, "Detection of Coronavirus (COVID-19) Associated Pneumonia based on
Generative Adversarial Networks and a Fine-Tuned Deep Transfer Learning Model using Chest X-ray Dataset",
arXiv:2004.01184 (2020).

| where in the paper | what it fixes | here |
|---|---|---|
| section 4 | Kermany's images, normal and pneumonia; 624 of them, 10.64 % | `DATA_SETS` |
| section 5, Figs. 4 and 5 | DCGAN: 5 transposed convolutions, 5 convolutions, kernels 4x4 | `covidcxr.models.dcgan` |
| section 5 | 10 times as many images: 6,240 | `ENLARGEMENT` |
| section 5, Fig. 2 | enlarged first, then 80 % to train and 20 % to test | `PROTOCOLS` |
| section 5, Fig. 3 | AlexNet, SqueezeNet, GoogLeNet, ResNet18; last layer replaced by one of 2 classes | `NETWORKS` |
| section 6 | MATLAB; three trials with a different 10 % each, averaged | `trials`, schedules |
| Figs. 7 to 10 | each network without and with the generated images | `ARMS` |

A trial with all four networks in both arms takes hours on two CPU cores; `--model squeezenet --trial 1` is the
cheapest part that compares the arms.
"""

from functools import partial

from covidcxr.data.augmentation import Augmentation
from covidcxr.errors import OptionError
from covidcxr.models import heads
from covidcxr.papers import khalifa2020_tables, smoke
from covidcxr.papers.arrangements import ByFractions
from covidcxr.papers.recipe import Arm, Case, Claim, DataSet, Network, Protocol, Recipe, Stage, Table
from covidcxr.papers.running.enlargement import DCGANEnlargement
from covidcxr.training.optimizers import OptimizerSpec

_KERMANY = {"normal": "kermany", "pneumonia": "kermany"}
_TWO_CLASSES = {"labels": "binary"}

DATA_SETS = {
    # 10.64 % of each class of the 1,583 + 4,273 images, to 624 in all.
    "draw": DataSet(counts={"normal": 169, "pneumonia": 455}, sources=_KERMANY, reading=_TWO_CLASSES),
    # Kermany's own test folder also has exactly 624.
    "test-folder": DataSet(
        counts={"normal": 234, "pneumonia": 390},
        sources=_KERMANY,
        reading=_TWO_CLASSES,
        only={"given_split": "test"},
    ),
}


def build(classes, dropout, input_size, network):
    """Build a network of the paper (see :func:`covidcxr.models.heads.khalifa_head`).

    Raises
    ------
    OptionError
        If a dropout is asked for: AlexNet, SqueezeNet and GoogLeNet have their own, which fine-tuning keeps.
    """
    if dropout:
        raise OptionError(f"--dropout {dropout}: khalifa2020's networks keep their own; leave the option out")
    return heads.khalifa_head(network, classes=classes, input_size=input_size)


def _network(title, backbone, side):
    return Network(title, partial(build, network=backbone), backbone, input_size=(side, side))


# Where a network has several forms, the one of MATLAB's toolbox, except AlexNet (deviation 3).
NETWORKS = {
    "alexnet": _network("AlexNet, last layer replaced", "alexnet", 227),
    "squeezenet": _network("SqueezeNet 1.1, last convolution replaced", "squeezenet1_1", 227),
    "googlenet": _network("GoogLeNet of BVLC, last layer replaced", "googlenet_bvlc", 224),
    "resnet18": _network("ResNet18, last layer replaced", "resnet18", 224),
}

_MOMENTUM = {"momentum": 0.9}
# The paper names the software and no option of training. Its manual fine-tunes pretrained networks, these four
# among them, at 1e-4 in batches of ten; its general defaults are for training from random weights, and their
# batches of 128 would leave the arm without generated images four steps an epoch.
STAGES = {
    "transfer": (Stage("fine-tuning", 6, OptimizerSpec("sgd", 1e-4, _MOMENTUM)),),
    "defaults": (Stage("fine-tuning", 30, OptimizerSpec("sgd", 0.01, _MOMENTUM)),),
}
BATCH = 10
BATCHES = {"defaults": 128}

CASES = {
    "draw": Case(
        "624 images drawn", data_set="draw", dropout=0.0, stages=STAGES, batch_size=BATCH, batch_sizes=BATCHES
    ),
    "test-folder": Case(
        "the 624 images of Kermany's test folder",
        data_set="test-folder",
        dropout=0.0,
        stages=STAGES,
        batch_size=BATCH,
        batch_sizes=BATCHES,
    ),
}

ARMS = {"real": Arm("without GAN"), "gan": Arm("with GAN", generated=True)}

# 250 epochs and batches of 32 are ours, like the images' size: with batches of 64 the 169 normal images would
# make two steps an epoch.
ENLARGEMENT = DCGANEnlargement(times=10, size=64, channels=3, latent=100, epochs=250, batch_size=32)

PROTOCOLS = {
    "published": Protocol(
        title="a GAN of all images makes them ten times as many; 20 % of the whole is tested on, last epoch",
        # Nothing is chosen, so nothing is looked at during training: no validation images.
        arrangement=ByFractions({"test": 0.2}, grouped=False),
        headline="test",
        augment_evaluation=False,
        keep="last",
        enlarge="everything",
    ),
    "sound": Protocol(
        title="patients kept together, GAN of training images only, epoch chosen on validation, real test images",
        arrangement=ByFractions({"val": 0.16, "test": 0.2}, grouped=True),
        headline="test",
        augment_evaluation=False,
        keep="best",
        enlarge="training",
    ),
}

_TEXT_AND_TABLE = "section 6.1, Table 1"
_TEXT, _TABLE = "section 6.1", "Table 1"
# Network: accuracy, where it stands, note.
_ACCURACIES = (
    ("alexnet", 0.961, _TEXT_AND_TABLE, ""),
    ("squeezenet", 0.947, _TEXT, "Table 1 prints 97.8 %"),
    (
        "squeezenet",
        0.978,
        _TABLE,
        "the text prints 94.7 %; 99.3 and 92.5 % of the classes give 97.8 % only with 78 % of the images normal",
    ),
    ("googlenet", 0.986, _TEXT, "Table 1 prints 96.8 %"),
    (
        "googlenet",
        0.968,
        _TABLE,
        "the text prints 98.6 %; impossible with 97.3 and 99.4 % of the classes, between which a total must lie",
    ),
    ("resnet18", 0.99, f"{_TEXT_AND_TABLE}, Table 3", ""),
)
# Network: recall of normal and of pneumonia (Table 1), mean precision, recall and F1 (Table 2).
_MEASURES = {
    "alexnet": (0.918, 0.989, 0.9652, 0.9537, 0.9594),
    "squeezenet": (0.993, 0.925, 0.9360, 0.9588, 0.9446),
    "googlenet": (0.973, 0.994, 0.9863, 0.9831, 0.9847),
    "resnet18": (0.987, 0.992, 0.9897, 0.9897, 0.9897),
}
_RECALL_NOTE = "Table 1's accuracy of a class is its recall: their mean is Table 2's recall"
_F1_NOTE = "the paper's F1 is that of the mean precision and recall; ours is the mean of the classes' F1"
_F1_NOTES = {"squeezenet": f"{_F1_NOTE}; here 93.60 and 95.88 % would give 94.73 %"}


def _claims():
    for model, value, where, note in _ACCURACIES:
        yield Claim("", "accuracy", value, where, note, model=model, arm="gan")
    for model, (normal, pneumonia, precision, recall, f1) in _MEASURES.items():
        printed = (
            ("sensitivity", normal, "Table 1", _RECALL_NOTE, "normal"),
            ("sensitivity", pneumonia, "Table 1", _RECALL_NOTE, "pneumonia"),
            ("precision", precision, "Table 2", "mean of both classes", "macro"),
            ("sensitivity", recall, "Table 2", "mean of both classes", "macro"),
            ("f1", f1, "Table 2", _F1_NOTES.get(model, _F1_NOTE), "macro"),
        )
        for measure, value, where, note, label in printed:
            yield Claim("", measure, value, where, note, model=model, arm="gan", label=label)


CLAIMS = tuple(_claims())

DEVIATIONS = (
    (
        "Which 624 images is not said. Three trials 'with different 10 %' are drawn from all images, so case draw "
        "takes 169 + 455; yet Kermany's test folder has exactly 624, and Tables 1 and 2 fit its 37.5 % normal images "
        "better than the draw's 27.1 % (case test-folder, whose three trials differ in split and GAN only)."
    ),
    (
        "One GAN a class, 64x64 pixels, 100 values of noise, Adam 2e-4 and 0.5, batches of 32, 250 epochs: the paper "
        "gives layers and kernels only. Generated images are stored grey and enlarged like any image of 64 pixels."
    ),
    (
        "AlexNet is the one-column network whose ImageNet weights torchvision publishes; MATLAB's has two groups "
        "and local response normalisation. SqueezeNet is 1.1 and GoogLeNet BVLC's, as in MATLAB."
    ),
    (
        "The optimiser is not said. Schedule transfer (momentum 0.9, 1e-4, batches of 10, 6 epochs) follows MATLAB's "
        "examples of transfer learning, without their faster rate for the new layer and their augmentation; schedule "
        "defaults follows trainingOptions('sgdm') (0.01, batches of 128, 30 epochs), without its "
        "weight decay of 1e-4."
    ),
    "Images are reordered every epoch; MATLAB's default shuffles once.",
    (
        "Under published no image is scored during training and the last epoch's weights are kept: the paper "
        "speaks of no validation images."
    ),
    (
        "Both classes are enlarged alike, as 'ten times larger' says; the share of normal images among the 6,240 is "
        "not printed."
    ),
    (
        "Averages are over the trials' measures, and Table 2's F1 is that of the averaged precision and recall, which "
        "three of the four printed ones are; confusion matrices are summed over trials."
    ),
    (
        "Sound: the GAN learns from training images only, and test images are real. Of 624 images with patients kept "
        "together about 100 choose the epoch and 125 are tested on."
    ),
)

TABLES = {
    "table1": Table(
        "Table 1. Testing accuracy for every class for the different deep transfer models using GAN",
        khalifa2020_tables.table_1,
    ),
    "table2": Table(
        "Table 2. Performance matrices for the different deep transfer models using GAN",
        khalifa2020_tables.table_2,
    ),
    "table3": Table("Table 3. The comparative result with related works", khalifa2020_tables.table_3),
    "figures7-10": Table(
        "Figures 7 to 10. Confusion matrices (a) without GAN and (b) with GAN, summed over trials",
        khalifa2020_tables.confusion_matrices,
        khalifa2020_tables.draw_confusion_matrices,
    ),
}

RECIPE = Recipe(
    key="khalifa2020",
    title="Detection of COVID-19 Associated Pneumonia based on GANs and a Fine-Tuned Deep Transfer Learning Model",
    reference="Khalifa et al., arXiv:2004.01184 (2020)",
    doi="10.48550/arXiv.2004.01184",
    data_sets=DATA_SETS,
    networks=NETWORKS,
    cases=CASES,
    protocols=PROTOCOLS,
    augmentation=Augmentation(),
    # MATLAB's image datastores resize so: bilinear, averaging where they shrink.
    interpolation="bilinear",
    scaling="backbone",
    positive_class="pneumonia",
    deviations=DEVIATIONS,
    claims=CLAIMS,
    arms=ARMS,
    trials=3,
    default_network="all",
    default_case="draw",
    default_trial="all",
    default_arm="all",
    enlargement=ENLARGEMENT,
    tables=TABLES,
    smoke={
        "data_sets": smoke.data_sets(DATA_SETS, 16),
        "networks": smoke.networks(NETWORKS),
        "cases": smoke.cases(CASES),
        "enlargement": DCGANEnlargement(times=2, latent=16, epochs=2, batch_size=8, width=8),
        "default_network": "squeezenet",
        "default_trial": "1",
    },
)
