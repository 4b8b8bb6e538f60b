"""Without PyTorch, transformers and PEFT what needs them is not collected."""

from importlib.util import find_spec

collect_ignore_glob = (
    []
    if all(map(find_spec, ("torch", "transformers", "peft")))
    else ["src/eckart/finetuning/*.py", "src/eckart/torch.py", "tests/finetuning/*.py"]
)
