from dataclasses import replace

import pytest

from covidcxr import papers
from covidcxr.errors import OptionError
from covidcxr.papers.plan import RunOptions, options_from, settle
from covidcxr.papers.recipe import Arm

RECIPE = papers.get("ragab2022").recipe


def test_defaults_are_the_papers_case_with_the_complete_log():
    (plan,) = settle(RECIPE, RunOptions())
    assert (plan.options.case, plan.options.model, plan.options.schedule) == ("B10", "hub", "adam")
    assert (plan.batch_size, plan.dropout, plan.total_epochs) == (32, 0.5, 10)
    assert plan.out == "runs/ragab2022-B10-published-seed0"


@pytest.mark.parametrize(
    ("epochs", "stages"), [(3, [3]), (10, [10]), (12, [10, 2]), (41, [10, 31]), (50, [10, 40])]
)
def test_epochs_cut_the_stages_short_or_lengthen_the_last(epochs, stages):
    (plan,) = settle(RECIPE, RunOptions(case="A", epochs=epochs))
    assert [stage.epochs for stage in plan.stages] == stages


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"case": "C"}, "unknown case 'C'"),
        ({"model": "hubb"}, "unknown model 'hubb'; did you mean hub?"),
        ({"schedule": "sgd"}, r"unknown schedule 'sgd' \(choose from adam, rmsprop\)"),
        ({"protocol": "soundd"}, "did you mean sound?"),
        ({"epochs": 0}, "--epochs 0"),
        ({"batch_size": -1}, "--batch-size -1"),
        ({"dropout": 1.0}, "--dropout 1.0"),
        ({"seed": -1}, "--seed -1"),
        ({"fine_tune": "some"}, "unknown --fine-tune"),
        ({"fold": "1"}, "--fold 1: this paper has no folds"),
        ({"trial": "2"}, "--trial 2: this paper has no trials"),
        ({"arm": "gan"}, "--arm gan: this paper compares no arms"),
        ({"preset": "tiny"}, r"unknown --preset 'tiny' \(choose from smoke\)"),
        ({"strategy": "miror"}, "unknown --strategy 'miror'"),
        ({"precision": "float64"}, "unknown --precision 'float64'"),
        ({"draws": "0"}, "--draws 0: give all, auto, off or a number"),
        ({"draws": "some"}, "--draws some"),
        ({"draws": "-3"}, "--draws -3"),
        ({"draws": "1.5"}, "--draws 1.5"),
        ({"draws": "200000"}, "from 1 to 100000"),
        ({"resume": True, "overwrite": True}, "give one of the two"),
        ({"sources": {"sars": "rsna"}}, "no such class in this data set"),
    ],
)
def test_options_without_meaning_are_refused_in_one_line(options, message):
    with pytest.raises(OptionError, match=message) as error:
        settle(RECIPE, RunOptions(**options))
    assert "\n" not in str(error.value)


def test_unknown_papers_and_options_are_named():
    with pytest.raises(OptionError, match=r"unknown paper 'ragab'; did you mean ragab2022\?"):
        papers.get("ragab")
    with pytest.raises(OptionError, match="unknown option 'epoch'"):
        papers.get("ragab2022").run(epoch=1)


def test_lists_and_all_choose_models_in_the_papers_order():
    plans = settle(RECIPE, RunOptions(case="B10,A", model="all", out="here"))
    assert [plan.unit.name for plan in plans] == [
        f"{case}-{model}"
        for case in ("A", "B10")
        for model in ("hub", "prose-mobilenetv2", "prose-mobilenet")
    ]
    assert plans[1].out == "here/models/A-prose-mobilenetv2"
    assert plans[1].options.model == "prose-mobilenetv2"


def test_one_model_alone_has_the_run_folder_for_itself():
    (plan,) = settle(RECIPE, RunOptions(case="A", out="here"))
    assert plan.out == "here"


def test_a_trial_has_a_seed_of_its_own_and_the_first_that_of_the_run():
    recipe = replace(RECIPE, trials=3)
    seeds = [plan.seed for plan in settle(recipe, RunOptions(trial="all", seed=5))]
    assert seeds[0] == 5
    assert len(set(seeds)) == 3


def test_folds_and_arms_multiply():
    recipe = replace(RECIPE, folds=5, arms={"real": Arm("without"), "gan": Arm("with", generated=True)})
    plans = settle(recipe, RunOptions(fold="2,4", arm="all"))
    assert [(plan.unit.fold, plan.unit.arm) for plan in plans] == [
        (2, "real"),
        (2, "gan"),
        (4, "real"),
        (4, "gan"),
    ]
    assert plans[3].options.fold == "4"
    assert plans[0].out == "runs/ragab2022-B10-fold2+4-all-published-seed0/models/B10-hub-fold2-real"


def test_the_smoke_preset_shrinks_images_inputs_and_epochs_and_needs_no_weights():
    (plan,) = settle(RECIPE, RunOptions(preset="smoke"))
    assert sum(plan.data_set.counts.values()) == 40
    assert plan.network.input_size == (64, 64)
    assert (plan.total_epochs, plan.options.weights) == (2, "none")
    (plan,) = settle(RECIPE, RunOptions(preset="smoke", weights="imagenet", epochs=3))
    assert (plan.total_epochs, plan.options.weights) == (3, "imagenet")


def test_a_run_from_before_there_were_draws_goes_on_without():
    assert RunOptions().draws == "auto"
    assert options_from({"data": "phantom"}, "config.json").draws == "off"
    assert options_from({"draws": "4"}, "config.json").draws == "4"
