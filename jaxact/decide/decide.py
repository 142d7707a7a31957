"""Verified, falsified or unknown: the entry to complete verification."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxact.bounds.attack import Attack
from jaxact.decide.decision import Clock, Decision, Status
