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
from eckart.files.reading import as_written, damaged, reading
from eckart.finetuning.rates import RateSearch
from eckart.finetuning.starts import Moved
from eckart.finetuning.training import (
    Evaluation,
    State,
    StepRecord,
    digest_of,
    learnt,
    restore,
)

FORMAT: Final = "eckart-finetune"
"""The key of the metadata under which the numbers of a run are."""
DIGEST: Final = "sha256"
"""The key under which the digest of all that the file holds is."""


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
        # a file that eckart did not write is refused here
        found = self._document().get("job")
        known = found if isinstance(found, dict) else {}
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
        # copies, since safetensors refuses tensors that share memory
        copies = {name: value.clone().contiguous() for name, value in tensors.items()}
        text = json.dumps(document, allow_nan=False)
        known = {FORMAT: text, DIGEST: _digest(text, copies)}
        with whole_file(self.path, force=True) as temporary:
            save_file(copies, temporary, metadata=known)

    def load(self, run: Kept) -> dict[int, dict[str, Any]]:
        """Bring a run to where it was.

        Returns:
            The state of its optimiser.

        Raises:
            FormatError: If the file is damaged.
        """
        tensors = self._tensors()
        error = damaged(self.path, "its parts do not belong together")
        # whatever was altered, or is of another version, makes the parts differ
        with as_written(error):
            document = self._document()
            _fill(run, document)
            now, best = (_beneath(tensors, kind) for kind in ("now", "best"))
            _check_fit(now, best, run)
            run.state.best = best
            pairs = _beneath(tensors, "moved")
            names = {name.rpartition("/")[0] for name in pairs}
            run.moved = {name: (pairs[f"{name}/B"], pairs[f"{name}/A"]) for name in names}
            own: dict[int, dict[str, Any]] = {}
            for name, value in _beneath(tensors, "state").items():
                number, _, key = name.partition("/")
                own.setdefault(int(number), {})[key] = value
        restore(run.model, now)
        return own

    def _tensors(self) -> dict[str, Any]:
        """All tensors of the file, if they are those that were written."""
        import torch

        with reading(self.path), open_tensors(self.path) as file:
            known = file.metadata() or {}
            # copies, since the file may be replaced while they are used
            found = {
                name: torch.from_numpy(file.get_tensor(name).copy())
                for name in file.keys()  # noqa: SIM118 the handle is no dict
            }
        if known.get(DIGEST) != _digest(known.get(FORMAT, ""), found):
            raise damaged(self.path, "it is not as it was written")
        return found

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


def _digest(text: str, tensors: Mapping[str, Any]) -> str:
    """The SHA-256 of what is in a file, which tells whether some of it was changed."""
    return digest_of([(text, _as_tensor(text)), *sorted(tensors.items())])


def _as_tensor(text: str) -> Any:
    """A text as a tensor of its bytes."""
    import torch

    return torch.frombuffer(bytearray(text.encode() or b" "), dtype=torch.uint8)


def _beneath(tensors: Mapping[str, Any], kind: str) -> dict[str, Any]:
    """The tensors of a kind, by what follows it in their names."""
    start = f"{kind}/"
    return {name[len(start) :]: one for name, one in tensors.items() if name.startswith(start)}


def _fill(run: Kept, document: Mapping[str, Any]) -> None:
    """Bring the numbers of a run to where it was."""
    known = document["run"]
    run.state = State(
        step=int(known["step"]),
        history=[StepRecord(**one) for one in known["history"]],
        evaluations=[Evaluation(**one) for one in known["evaluations"]],
        growth=list(known["growth"]),
        seconds={name: float(one) for name, one in known["seconds"].items()},
    )
    run.search = RateSearch.from_dict(document["search"])
    spent = document["spent"].items()
    run.spent |= {name: float(one) for name, one in spent if name != "loading"}
    run.notes[:] = map(str, document["notes"])


def _check_fit(now: Mapping[str, Any], best: Mapping[str, Any], run: Kept) -> None:
    """Raise an error if there are other parameters than those of the model; ranks may differ."""
    here = learnt(run.model)
    if now.keys() != here.keys() or best.keys() != (
        here.keys() if run.state.evaluations else set()
    ):
        raise ValueError("other parameters")
    for values in (now, best):
        for name, value in values.items():
            differ = sum(a != b for a, b in zip(value.shape, here[name].shape, strict=True))
            if differ > 1 or value.dtype != here[name].dtype:
                raise ValueError(name)
