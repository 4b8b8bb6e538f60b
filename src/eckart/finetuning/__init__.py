"""Fine-tuning: the factors B and A of ΔW = s·B·A learnt from a task."""

from eckart.finetuning.finetune import finetune as finetune
from eckart.finetuning.result import FineTuning as FineTuning
