"""A release says what its generator withheld, in counts."""

import pandas as pd

from tasks.services.generators import read_privacy
from tasks.services.release import withheld
from tvae_core import TVAE


def test_a_release_tells_what_its_generator_withheld(tmp_path):
    table = pd.DataFrame({"x": ["a"] * 300 + ["b", "c"], "n": [3 * i for i in range(302)]})
    TVAE(epochs=1).fit(table).save(tmp_path / "g")
    privacy = read_privacy(str(tmp_path / "g"))
    assert privacy["protect_k"] == 10
    assert withheld(privacy) == "what fewer than 10 hold: 2 categories (2 cells), 18 extreme values" + (
        " (of 1 column their mean distance is known)"
    )
    assert privacy["tails"] == ["n"]
    TVAE(epochs=1, tails=False).fit(table).save(tmp_path / "cut")
    assert withheld(read_privacy(str(tmp_path / "cut"))).endswith("18 extreme values")
    TVAE(epochs=1, protect_k=0).fit(table).save(tmp_path / "open")
    assert "switched off" in withheld(read_privacy(str(tmp_path / "open")))
