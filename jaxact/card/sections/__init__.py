"""One section of the card a lens: real data in, numbers with their meaning out."""

from __future__ import annotations

from jaxact.card.sections.bounds import bounds as bounds
from jaxact.card.sections.geometry import geometry as geometry
from jaxact.card.sections.inversion import inversion as inversion
from jaxact.card.sections.memory import memory as memory
from jaxact.card.sections.spectra import spectra as spectra
