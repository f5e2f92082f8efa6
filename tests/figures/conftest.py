"""What every figure promises."""

import io

import matplotlib
import matplotlib.pyplot as plt
import pytest
import torch


@pytest.fixture
def drawn_twice():
    """Assert that a figure drawn twice has the same bytes, and that drawing sets no global state."""

    def check(make):
        before, pages = dict(matplotlib.rcParams), []
        for _ in range(2):
            torch.manual_seed(0)  # some draw what they show
            page = io.BytesIO()
            make().savefig(page, format="png", dpi=50)
            pages.append(page.getvalue())
        assert pages[0] == pages[1]
        assert dict(matplotlib.rcParams) == before and plt.get_fignums() == []

    return check
