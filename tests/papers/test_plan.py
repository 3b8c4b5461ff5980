import pytest

from covidcxr import papers
from covidcxr.errors import OptionError
from covidcxr.papers.plan import RunOptions, resolve

RECIPE = papers.get("ragab2022").recipe


def test_defaults_are_the_papers_case_with_the_complete_log():
    plan = resolve(RECIPE, RunOptions())
    assert (plan.options.case, plan.options.model, plan.options.schedule) == ("B10", "hub", "adam")
    assert (plan.batch_size, plan.dropout, plan.total_epochs) == (32, 0.5, 10)
    assert plan.out == "runs/ragab2022-B10-published-seed0"


@pytest.mark.parametrize(
    ("epochs", "stages"), [(3, [3]), (10, [10]), (12, [10, 2]), (41, [10, 31]), (50, [10, 40])]
)
def test_epochs_cut_the_stages_short_or_lengthen_the_last(epochs, stages):
    plan = resolve(RECIPE, RunOptions(case="A", epochs=epochs))
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
        ({"resume": True, "overwrite": True}, "give one of the two"),
        ({"sources": {"sars": "rsna"}}, "no such class in this data set"),
    ],
)
def test_options_without_meaning_are_refused_in_one_line(options, message):
    with pytest.raises(OptionError, match=message) as error:
        resolve(RECIPE, RunOptions(**options))
    assert "\n" not in str(error.value)


def test_unknown_papers_and_options_are_named():
    with pytest.raises(OptionError, match=r"unknown paper 'ragab'; did you mean ragab2022\?"):
        papers.get("ragab")
    with pytest.raises(OptionError, match="unknown option 'epoch'"):
        papers.get("ragab2022").run(epoch=1)
