"""Every command that writes, as a line, and a folder with all that these lines read."""

import shlex
import shutil
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from adapters.pairs import can_run, extracted, save_network
from commandline import ROOT
from eckart.cli.main import main


class Writer(NamedTuple):
    """A command line with a place for its output, what that is called, and what is read."""

    line: str
    output: str
    inputs: tuple[str, ...]
    runs: bool = True  # without what may not be installed

    @property
    def suffix(self) -> str:
        return Path(self.output).suffix

    @property
    def is_folder(self) -> bool:
        return not self.suffix

    def words(self, output: object, **inputs: object) -> list[str]:
        """The words of the line with another output, and other inputs in the place of its own."""
        words = shlex.split(self.line)
        return [str(output) if word == "{}" else str(inputs.get(word, word)) for word in words]


FIT = "--rank 1 --regularization 0.1 --epochs 2"
WRITERS = {
    "factor": Writer(
        "factor W.npy --rank 1 --solver gd --start start.npz -o {}", "o.npz", ("W.npy", "start.npz")
    ),
    "factor to a folder": Writer("factor W.npy --rank 1 -o {}", "o", ("W.npy",)),
    "factor a picture": Writer("factor p.png --rank 1 -o {}", "o.npz", ("p.png",)),
    "factor --report": Writer(
        "factor W.npy --rank 1 -o x.npz --report {}", "o.html", ("W.npy",)
    ),
    "compare --report": Writer(
        "compare W.npy --solvers gd,svd --start start.npz --rank 1 --report {}", "o.html",
        ("W.npy", "start.npz"),
    ),
    "apply": Writer("apply f.npz X.csv -o {}", "o.npy", ("f.npz", "X.csv")),
    "expand": Writer("expand f.npz -o {}", "o.csv", ("f.npz",)),
    "truncate": Writer("truncate f.npz --rank 1 -o {}", "o.safetensors", ("f.npz",)),
    "truncate a folder": Writer("truncate pair --rank 1 -o {}", "o", ("pair",)),
    "truncate an adapter": Writer("truncate adapter --rank 1 -o {}", "o", ("adapter",)),
    "extract": Writer("extract base tuned --rank 1 -o {}", "o", ("base", "tuned")),
    "extract --again": Writer("extract --again adapter --rank 1 -o {}", "o", ("adapter",)),
    "merge": Writer("merge base adapter -o {}", "o", ("base", "adapter")),
    "merge to a file": Writer("merge base adapter -o {}", "o.safetensors", ("base", "adapter")),
    "join": Writer("join adapter small --weights 0.5,0.5 -o {}", "o", ("adapter", "small")),
    "compare-adapters --report": Writer(
        "compare-adapters adapter small --delta base tuned --report {}", "o.html",
        ("adapter", "small", "base", "tuned"),
    ),
    "calibrate": Writer("calibrate network texts.txt -o {}", "o.safetensors",
                        ("network", "texts.txt"), runs=can_run()),
    "finetune": Writer(
        "finetune network labels.csv --rank 1 --epochs 6 --head-rate 0.1 --learning-rate 0.1 "
        "--share 0.4 -o {}", "o",
        ("network", "labels.csv"), runs=can_run(),
    ),
    "reduce": Writer("reduce X.csv --rank 1 -o {}", "o.csv", ("X.csv",)),
    "reduce --model": Writer("reduce X.csv --model s.model.npz -o {}", "o.npy",
                             ("X.csv", "s.model.npz")),
    "reduce --update": Writer("reduce X.csv --update s.model.npz -o {}", "o.npz", ("X.csv",)),
    "reduce --report": Writer("reduce X.csv --rank 1 -o x.csv --report {}", "o.html", ("X.csv",)),
    "recommend fit": Writer(
        f"recommend fit ratings.csv --item-attributes dishes.csv --names names.csv {FIT} -o {{}}",
        "o", ("ratings.csv", "dishes.csv", "names.csv"),
    ),
    "recommend fit --from": Writer(f"recommend fit --from model {FIT} -o {{}}", "o", ("model",)),
    "recommend fit --report": Writer(
        f"recommend fit ratings.csv {FIT} -o x --report {{}}", "o.html", ("ratings.csv",)
    ),
    "recommend add": Writer("recommend add model more.csv -o {}", "o", ("more.csv",)),
    "recommend remove": Writer("recommend remove model --user ada -o {}", "o", ()),
    "recommend top": Writer(
        "recommend top model --users users.csv --only only.csv --names names.csv -o {}", "o.csv",
        ("model", "users.csv", "only.csv", "names.csv"),
    ),
    "recommend predict": Writer("recommend predict model more.csv --names names.csv -o {}", "o.csv",
                                ("model", "more.csv", "names.csv")),
    "recommend export": Writer("recommend export model -o {}", "o.npy", ("model",)),
    "demo": Writer("demo -o {}", "o", ()),
}  # fmt: skip
"""An input that a command updates in its own place is left out of what it reads."""


def furnish(folder: Path) -> None:
    """Write to the current folder all that the lines read."""
    generator = np.random.default_rng(0)
    X = generator.standard_normal((8, 5))
    np.save("W.npy", X)
    np.savetxt("X.csv", generator.standard_normal((5, 5)), delimiter=",", header="a,b,c,d,e",
               comments="")  # fmt: skip
    np.savez("start.npz", B=X[:, :1], A=X[:1])
    Image.fromarray(np.uint8(generator.integers(0, 255, (6, 5)))).save("p.png")
    Path("texts.txt").write_text("a text\n")
    rows = "a a a a,yes\nb b b b,no\n" * 8
    Path("labels.csv").write_text(f"text,label\n{rows}")
    extracted(folder)
    save_network(Path("network"))
    for name in ("ratings.csv", "dishes.csv"):
        shutil.copy(ROOT / "examples" / name, name)
    Path("names.csv").write_text("item,title\n100,pie\n")
    Path("users.csv").write_text("user\nada\n")
    Path("only.csv").write_text("item\n100\n101\n")
    Path("more.csv").write_text("user,item,rating\nnew,100,3\nada,101,4\n")
    for line in (
        "factor W.npy --rank 2 -o f.npz",
        "factor W.npy --rank 2 -o pair",
        "truncate adapter --rank 1 -o small",
        "reduce X.csv --rank 2 -o s.csv",
        f"recommend fit ratings.csv {FIT} -o model",
    ):
        assert main([*line.split(), "--quiet"]) == 0
