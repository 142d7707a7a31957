"""Cards made by hand, for what needs no measuring."""

import numpy as np
import pytest

from jaxact.card.section import Card, Section, Value

LENSES = ("spectra", "bounds", "memory", "inversion", "geometry")


@pytest.fixture
def by_hand():
    """A function (name, key=(value, error)...) -> a card with these values in its bounds."""

    def make(name, **numbers):
        x = np.linspace(-5, 5, 21)
        values = tuple(
            Value(key, key.replace("_", " "), value, "in words", "pixels", "measured", error,
                  better="higher")
            for key, (value, error) in numbers.items()
        )  # fmt: skip
        sections = {lens: Section(lens, f"{lens}?", (), reason="nothing") for lens in LENSES}
        picture = {"label": "digit", "alt": "a digit", "map": "gray", "pixels": [[[0, 255]] * 2]}
        sections["bounds"] = Section("bounds", "how far?", values)
        sections["inversion"] = Section("inversion", "which?", (), {"pictures": [picture]})
        setting = {"data": "none", "seed": 0, "quick": True, "jaxact": "0", "jax": "0"}
        return Card(name, "", (0.0,), {"x": x, "f": x, "slope": x * 0 + 1}, sections, setting)

    return make
