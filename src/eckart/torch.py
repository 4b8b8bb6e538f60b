"""The parts of fine-tuning for a loop of one's own: pairs of factors, starts, and optimisers.

Example:
    >>> optimizer = ScaledAdam(pairs(model), lr=1e-3)  # doctest: +SKIP
"""

from eckart.finetuning.optimizers import AdamW as AdamW
from eckart.finetuning.optimizers import LoRAMuon as LoRAMuon
from eckart.finetuning.optimizers import LoRARite as LoRARite
from eckart.finetuning.optimizers import ScaledAdam as ScaledAdam
from eckart.finetuning.optimizers import ScaledGradient as ScaledGradient
from eckart.finetuning.pair_optimizer import PairOptimizer as PairOptimizer
from eckart.finetuning.pairs import Pair as Pair
from eckart.finetuning.pairs import others as others
from eckart.finetuning.pairs import pairs as pairs
from eckart.finetuning.starts import plain_ as plain_
from eckart.finetuning.starts import start_ as start_
