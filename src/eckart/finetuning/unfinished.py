"""The unfinished work of a fine-tune: a file that holds tensors and numbers, and no code."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol, final

from eckart.errors import ArgumentError, FormatError
from eckart.files import beside, check_apart, named_path, whole_file
from eckart.files.archives import open_tensors
from eckart.files.outputs import check_kind
from eckart.files.reading import damaged, reading
from eckart.finetuning.rates import RateSearch
from eckart.finetuning.starts import Moved
from eckart.finetuning.training import Evaluation, State, StepRecord, learnt, restore

FORMAT: Final = "eckart-finetune"
"""The key of the metadata under which the numbers of a run are."""


class Kept(Protocol):
    """What is kept of a run; see `Run`."""

    model: Any
    state: State
    moved: Moved
    search: RateSearch
    spent: dict[str, float]
    notes: list[str]


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Unfinished:
    """The file beside an adapter that a run goes on from.

    Fields:
        path: Path of the file.
        job: What determines the run: settings, model and data.
    """

    path: Path
    job: dict[str, Any]

    @staticmethod
    def place(adapter: Path) -> Path:
        """The path of the file of an adapter."""
        return beside(adapter, f"{named_path(adapter).name}.unfinished.safetensors")

    def check(self, *, resume: bool, force: bool, inputs: Sequence[Path | None]) -> bool:
        """Whether to go on from the file.

        Raises:
            ArgumentError: If there is such a file and neither `resume` nor `force` is set, it is of
                another job, its place is that of an input, or there is none to go on from.
        """
        check_apart(self.path, inputs)
        check_kind(self.path, is_folder=False)
        if not self.path.exists() and resume:
            raise ArgumentError(
                f"There is no unfinished work in {self.path}.",
                hint="Begin without `resume`.",
                code="nothing-to-resume",
            )
        if not self.path.exists():
            return False
        known = self._document().get("job", {})  # a file that eckart did not write is refused here
        if force and not resume:
            return False
        if not resume:
            raise ArgumentError(
                f"{self.path} holds the unfinished work of an earlier run.",
                hint="Go on with `resume=True`, or begin again with `force=True`.",
                code="unfinished-work",
            )
        different = sorted(name for name in self.job if known.get(name) != self.job[name])
        if different:
            raise ArgumentError(
                f"The unfinished work in {self.path} is of another job: "
                f"{' and '.join(different)} {'differs' if len(different) == 1 else 'differ'}.",
                hint="Give what it was begun with, or begin again with `force=True`.",
                code="another-job",
            )
        return True

    def save(self, run: Kept, optimizer: Any) -> None:
        """Write how far a run is, whole or not at all."""
        from safetensors.torch import save_file

        tensors = {f"now/{name}": one.detach() for name, one in learnt(run.model).items()}
        tensors |= {f"best/{name}": one for name, one in run.state.best.items()}
        for name, (B, A) in run.moved.items():
            tensors |= {f"moved/{name}/B": B, f"moved/{name}/A": A}
        for number, own in optimizer.state_dict()["state"].items():
            tensors |= {f"state/{number}/{key}": value for key, value in own.items()}
        document = {
            "job": self.job,
            "run": run.state.to_dict(),
            "search": run.search.to_dict(),
            "spent": run.spent,
            "notes": run.notes,
        }
        with whole_file(self.path, force=True) as temporary:
            # copies, since safetensors refuses tensors that share memory
            copies = {name: value.clone().contiguous() for name, value in tensors.items()}
            save_file(copies, temporary, metadata={FORMAT: json.dumps(document, allow_nan=False)})

    def load(self, run: Kept) -> dict[int, dict[str, Any]]:
        """Bring a run to where it was.

        Returns:
            The state of its optimiser.

        Raises:
            FormatError: If the file is damaged.
        """
        document = self._document()
        try:
            known = document["run"]
            run.state = State(
                step=int(known["step"]),
                history=[StepRecord(**one) for one in known["history"]],
                evaluations=[Evaluation(**one) for one in known["evaluations"]],
                growth=list(known["growth"]),
                seconds={name: float(one) for name, one in known["seconds"].items()},
            )
            run.search = RateSearch.from_dict(document["search"])
            run.spent |= {
                name: float(one) for name, one in document["spent"].items() if name != "loading"
            }
            run.notes[:] = map(str, document["notes"])
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise damaged(self.path, error) from error
        now, own = self._tensors(run)
        _check_fit(now, learnt(run.model), self.path)
        restore(run.model, now)
        return own

    def _tensors(self, run: Kept) -> tuple[dict[str, Any], dict[int, dict[str, Any]]]:
        """The parameters and the state of the optimiser; the others go to the run."""
        import torch

        now: dict[str, Any] = {}
        own: dict[int, dict[str, Any]] = {}
        moved: dict[str, dict[str, Any]] = {}
        with reading(self.path), open_tensors(self.path) as file:
            for name in file.keys():  # noqa: SIM118 the handle is no dict
                kind, _, rest = name.partition("/")
                value = torch.from_numpy(file.get_tensor(name).copy())
                before, _, key = rest.rpartition("/")
                if kind == "now":
                    now[rest] = value
                elif kind == "best":
                    run.state.best[rest] = value
                elif kind == "moved":
                    moved.setdefault(before, {})[key] = value
                else:
                    own.setdefault(int(before), {})[key] = value
        run.moved = {name: (one["B"], one["A"]) for name, one in moved.items()}
        return now, own

    def remove(self) -> None:
        """Remove the file."""
        self.path.unlink(missing_ok=True)

    def _document(self) -> dict[str, Any]:
        with reading(self.path), open_tensors(self.path) as file:
            text = (file.metadata() or {}).get(FORMAT, "")
        try:
            found = json.loads(text)
        except ValueError as error:
            raise damaged(self.path, error) from error
        if not isinstance(found, dict):
            raise FormatError(
                f"{self.path} is no unfinished work.", hint="Remove it.", code="damaged-file"
            )
        return found


def _check_fit(found: Mapping[str, Any], here: Mapping[str, Any], path: Path) -> None:
    """Refuse other parameters than those of the model; ranks may have grown."""
    fits = found.keys() == here.keys() and all(
        value.ndim == here[name].ndim
        and sum(a != b for a, b in zip(value.shape, here[name].shape, strict=True)) <= 1
        for name, value in found.items()
    )
    if not fits:
        raise damaged(path, "it holds other parameters")
