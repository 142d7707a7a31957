"""Data sets and checkpoints."""

from __future__ import annotations

from jaxact.io.checkpoints import load_checkpoint as load_checkpoint
from jaxact.io.checkpoints import save_checkpoint as save_checkpoint
from jaxact.io.datasets import Images as Images
from jaxact.io.datasets import load_digits as load_digits
from jaxact.io.datasets import load_mnist as load_mnist
