"""Data sets, checkpoints, and networks and properties from files."""

from __future__ import annotations

from jaxact.io.checkpoints import load_checkpoint as load_checkpoint
from jaxact.io.checkpoints import save_checkpoint as save_checkpoint
from jaxact.io.counterexamples import onnxruntime_evaluation as onnxruntime_evaluation
from jaxact.io.counterexamples import read_counterexample as read_counterexample
from jaxact.io.counterexamples import write_counterexample as write_counterexample
from jaxact.io.datasets import Images as Images
from jaxact.io.datasets import fetch_mnist as fetch_mnist
from jaxact.io.datasets import load_digits as load_digits
from jaxact.io.datasets import load_mnist as load_mnist
from jaxact.io.onnx import load_onnx as load_onnx
from jaxact.io.onnx_network import OnnxNetwork as OnnxNetwork
from jaxact.io.properties import Case as Case
from jaxact.io.properties import Property as Property
from jaxact.io.verdicts import METHODS as METHODS
from jaxact.io.verdicts import Outcome as Outcome
from jaxact.io.verdicts import check_property as check_property
from jaxact.io.vnnlib import load_vnnlib as load_vnnlib
