"""Forms are named by the user; sizes are taken from the small to the large."""

import pytest

from audioptq.bench.plan import Case, Form, choose_forms
from audioptq.errors import UserError

W8A8 = {"weight": {"bits": 8}, "activation": {"bits": 8}}
RECIPES = {"w8a8_rtn": W8A8, "bf16": {"dtype": "bfloat16"}}


def test_a_recipe_stands_for_all_its_computes_and_the_baseline_is_always_there():
    forms = choose_forms(["w8a8_rtn", "bf16", "eager_bf16", "w8a8_rtn:integer"], RECIPES)
    assert [(form.name, form.compute) for form in forms] == [
        ("eager_fp32", "float"),
        ("w8a8_rtn", "simulated"),
        ("w8a8_rtn", "integer"),
        ("bf16", "float"),
        ("eager_bf16", "float"),
    ]
    assert forms[1].recipe == W8A8
    assert choose_forms(["w8a8_rtn:integer"], RECIPES)[1:] == (Form("w8a8_rtn", "integer", W8A8),)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("w8a8_rtm", "Did you mean 'w8a8_rtn'?"),
        ("bf16:integer", "it has float"),
        ("w8a8_rtn:fast", "it has simulated, integer"),
    ],
)
def test_a_form_that_there_is_not_is_refused(name, words):
    with pytest.raises(UserError, match=words.replace("?", r"\?")):
        choose_forms([name], RECIPES)


def test_sizes_grow(make_plan):
    cases = make_plan(latents=(64, 8, 8), batches=(1, 4)).cases()
    assert cases == [Case(8, 1), Case(8, 4), Case(64, 1), Case(64, 4)]
