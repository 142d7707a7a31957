"""Networks that take any activation: thin Flax modules, turned into plain functions for the lenses.

The kernels of jaxact never see a Flax module. `as_function(model)` is a callable pytree whose
leaves are the weights; `functional(model)` is the pair (apply, params) that `train` takes.
"""

from __future__ import annotations

from jaxact.nets import linen as linen
from jaxact.nets.certified import train_certified as train_certified
from jaxact.nets.convnet import ConvNet as ConvNet
from jaxact.nets.fits import Fit as Fit
from jaxact.nets.fits import train_autoencoder as train_autoencoder
from jaxact.nets.fits import train_classifier as train_classifier
from jaxact.nets.functional import Apply as Apply
from jaxact.nets.functional import as_function as as_function
from jaxact.nets.functional import functional as functional
from jaxact.nets.generator import ConvGenerator as ConvGenerator
from jaxact.nets.invertible import InvertibleGenerator as InvertibleGenerator
from jaxact.nets.layers import layers as layers
from jaxact.nets.memory import DenseAssociativeMemory as DenseAssociativeMemory
from jaxact.nets.memory import FeedForwardDual as FeedForwardDual
from jaxact.nets.memory_rules import CrossEntropyRule as CrossEntropyRule
from jaxact.nets.memory_rules import PaperRule as PaperRule
from jaxact.nets.memory_training import MemoryClassifier as MemoryClassifier
from jaxact.nets.memory_training import train_memory as train_memory
from jaxact.nets.mlp import MLP as MLP
from jaxact.nets.players import Players as Players
from jaxact.nets.players import mlp_players as mlp_players
from jaxact.nets.resumable import TrainingState as TrainingState
from jaxact.nets.resumable import train_resumable as train_resumable
from jaxact.nets.training import cross_entropy as cross_entropy
from jaxact.nets.training import mse as mse
from jaxact.nets.training import train as train
from jaxact.nets.units import Unit as Unit
from jaxact.nets.units import gain as gain
from jaxact.nets.vae import train_vae as train_vae
