"""Glued values: every number and word is found, and stands in the descriptions of figures that name it."""

import math

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook, new_output

from specfreq.compendium import execution, glued
from specfreq.core.errors import UserError


@pytest.fixture(scope="module")
def found(tmp_path_factory, add_study):
    """What a study that glues one value of each kind is found to have glued."""
    root = tmp_path_factory.mktemp("glued")
    code = (
        "import numpy as np, pandas as pd\nimport matplotlib.pyplot as plt\nfrom myst_nb import glue",
        "glue('whole', 3, display=False)\nglue('shown', 0.1)\nglue('wide', np.float32(0.5), display=False)\n"
        "glue('nothing', None, display=False)\nglue('wrong', float('nan'), display=False)\nglue('word', '1,5 "
        "± 2', display=False)",
        "glue('figure', plt.figure(), display=False)\nglue('frame', pd.DataFrame([1]))\nglue('list', [1], "
        "display=False)",
    )
    add_study(root, "glues", *code)
    executed = execution.execute("glues", root / "out.ipynb", root=root, threads=1)
    return glued.values(nbformat.read(executed, as_version=4))


def test_glued_numbers_and_words_are_found_with_their_types(found):
    assert math.isnan(found.pop("wrong"))
    assert found == {"whole": 3, "shown": 0.1, "wide": 0.5, "nothing": None, "word": "1,5 ± 2"}


def notebook(alt, **values):
    """An executed notebook that glued these texts and draws a figure with this description."""
    about = {"mystnb": {"figure": {"name": "fig-errors"}, "image": {"alt": alt}}}
    outputs = [
        new_output(
            "display_data",
            data={"application/papermill.record/text/plain": repr(value)},
            metadata={"scrapbook": {"mime_prefix": "application/papermill.record/", "name": name}},
        )
        for name, value in values.items()
    ]
    return new_notebook(cells=[new_code_cell("f()", metadata=about), new_code_cell("g()", outputs=outputs)])


def alt_of(described):
    return described.cells[0].metadata.mystnb.image.alt


def test_descriptions_have_the_numbers_that_were_glued():
    text = "Dots: APR-SP errs on {glue:text}`apr-sp error` %, in {glue:text}`count` runs."
    made = glued.describe(notebook(text, **{"apr-sp error": "46.1 ± 2.8", "count": 5}), "study")
    assert alt_of(made) == "Dots: APR-SP errs on 46.1 ± 2.8 %, in 5 runs."
    assert alt_of(glued.describe(made, "study")) == alt_of(made)
    plain = "Dots, {as they are}."
    assert alt_of(glued.describe(notebook(plain), "study")) == plain


def test_a_description_that_names_what_is_not_glued_is_refused():
    with pytest.raises(UserError, match=r"unknown glued value 'eror'.*fig-errors in study.*mean 'error'"):
        glued.describe(notebook("{glue:text}`eror` % of the images are wrong.", error="5"), "study")
