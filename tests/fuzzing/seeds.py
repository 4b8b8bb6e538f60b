"""Small valid files of every kind, made here: what the fuzzer changes."""

import contextlib
import gzip
import io
import json
import shutil
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import scipy.io
import scipy.sparse
from PIL import Image
from safetensors.numpy import save_file

import eckart
from adapters.pairs import extracted, saved_pair
from eckart.adapters import extract_adapter
from eckart.cli.main import main
from eckart.recommend import save_model
from fuzzing.framing import framed, taken
from recommend.samples import fitted, read

W = np.arange(12.0).reshape(4, 3) / 7
TEXTS = {
    "plain.csv": "a,b,c\n1,2,3\n4,5.5,-6e3\n",
    "bare.csv": "1,2\n3,4\n5,6\n",
    "semicolons.csv": "x;y\n1,5;2,25\n3,0;-4,5\n",
    "index.csv": ",u,v\nr1,1,2\nr2,NA,4\n",
    "quoted.csv": 'name,"a ""q"", b",c\n"two\nlines",1,2\n"x",3,\n',
    "tabs.tsv": "a\tb\n1\t2\n3\t4\n",
    "comment.csv": "# made by hand\n# a,b\n1,2\n3,4\n",
    "ratings.csv": "userId,movieId,rating,timestamp\n1,31,2.5,1260759144\n2,1029,3,2019-05-01\n",
    "ml.dat": "1::1193::5::978300760\n1::661::3::978302109\n2::914::3::978301968\n",
    "blanks.txt": "196 242 3 881250949\n186 302 3 891717742\n",
    "items.csv": "itemId,title,year,genres\n1,Heat (1995),1995,Action|Crime\n2,Sabri,1995,Comedy\n",
    "times.csv": "user,item,time\na,b,2020-01-02T03:04:05Z\na,c,2020-01-02 03:04\nb,b,1577934245\n",
}
LINES = {
    "rows.jsonl": '{"user": 1, "item": "a", "rating": 3.5}\n{"user": 2, "item": "b"}',
    "list.json": '[{"user_id": "x", "item_id": 7, "date": "2020-01-02"}, {"user_id": "y"}]',
    "nested.jsonl": '{"user": "a", "item": "b", "more": {"x": [1, 2]}}\n',
}
MARKET = {
    "c.mtx": "%%MatrixMarket matrix coordinate real general\n% c\n3 2 2\n1 1 2.5\n3 2 -1e3\n",
    "s.mtx": "%%MatrixMarket matrix coordinate integer symmetric\n3 3 3\n1 1 2\n2 1 1\n3 3 7\n",
    "p.mtx": "%%MatrixMarket matrix coordinate pattern general\n2 2 1\n1 2\n",
    "a.mtx": "%%MatrixMarket matrix array real general\n2 2\n1\n2\n3\n4\n",
    "k.mtx": "%%MatrixMarket matrix array real skew-symmetric\n3 3\n1\n2\n3\n",
}


def made(*writers: Callable[[Path], object], unpacked: bool = False) -> Iterator[bytes]:
    """What each function writes to a folder, framed; archives also as their members."""
    for write in writers:
        with TemporaryDirectory() as name:
            folder = Path(name)
            write(folder)
            yield framed(taken(folder))
            if unpacked:
                yield framed(taken(folder, unpacked=True))


def texts() -> Iterator[bytes]:
    for name, text in TEXTS.items():
        yield framed({name: text.encode()})
    yield framed({"t.csv.gz!": TEXTS["ratings.csv"].encode()})
    yield framed({"t.csv.gz": gzip.compress(TEXTS["plain.csv"].encode(), mtime=0)})
    yield framed({"t.csv": "név;érték\nő;1,5\n".encode("utf-16")})
    yield framed({"t.csv": "nom,valeur\né,1\n".encode("latin-1")})


def lines() -> Iterator[bytes]:
    for name, text in LINES.items():
        yield framed({name: text.encode()})
    yield framed({"t.jsonl.gz!": LINES["rows.jsonl"].encode()})


def market() -> Iterator[bytes]:
    for name, text in MARKET.items():
        yield framed({name: text.encode()})
    yield framed({"t.mtx.gz!": MARKET["c.mtx"].encode()})


def arrays() -> Iterator[bytes]:
    kinds = (W, np.asfortranarray(W), W.astype(">f4"), np.arange(6, dtype=np.int8).reshape(2, 3),
             W > 1, W.astype(np.float16))  # fmt: skip
    yield from made(*(lambda folder, one=one: np.save(folder / "W.npy", one) for one in kinds))


def archives() -> Iterator[bytes]:
    stored = scipy.sparse.random_array((5, 4), density=0.4, rng=0)
    factors = eckart.Factors(W[:, :2], W[:2])

    def reduced(folder: Path) -> None:
        np.save(folder / "t.npy", np.random.default_rng(0).standard_normal((9, 4)))
        quietly(["reduce", str(folder / "t.npy"), "--rank", "2", "-o", str(folder / "s.npy")])
        for path in folder.iterdir():
            if path.name != "s.model.npz":
                path.unlink()

    sparse = [
        lambda folder, kind=kind: scipy.sparse.save_npz(folder / "W.npz", stored.asformat(kind))
        for kind in ("csr", "csc", "coo", "bsr", "dia")
    ]
    yield from made(
        lambda folder: np.savez(folder / "W.npz", W=W),
        lambda folder: np.savez_compressed(folder / "W.npz", W=W, x=W[0]),
        lambda folder: eckart.factorize(W, 1).factors.save(folder / "f.npz"),
        lambda folder: factors.save(folder / "f.npz"),
        reduced,
        *sparse,
        unpacked=True,
    )


def parquet() -> Iterator[bytes]:
    columns = {
        "user": pa.array(["a", "b", None]),
        "item": pa.array([1, 2, 3]),
        "rating": pa.array([1.5, None, 3.0]),
        "when": pa.array([1, 2, 3], pa.timestamp("ms", "UTC")),
        "kind": pa.array(["x", "y", "x"]).dictionary_encode(),
        "list": pa.array([[1], [], None]),
    }

    def numbers(folder: Path) -> None:
        pq.write_table(pa.table({"a": W[:, 0], "b": W[:, 1]}), folder / "t.parquet")

    def mixed(folder: Path) -> None:
        pq.write_table(pa.table(columns), folder / "t.parquet", compression="gzip")

    def pandas(folder: Path) -> None:
        import pandas as pd

        frame = pd.DataFrame({"a": [1, 2], "b": [0.5, 1.5]}, index=["r", "s"])
        frame.to_parquet(folder / "t.parquet", compression=None)

    def groups(folder: Path) -> None:
        table = pa.table({"a": np.arange(50), "b": np.arange(50.0)})
        pq.write_table(table, folder / "t.parquet", row_group_size=20, use_dictionary=False)

    yield from made(numbers, mixed, pandas, groups)


def pictures() -> Iterator[bytes]:
    square = Image.fromarray((W * 100).astype(np.uint8)).resize((8, 6))
    kinds = [("p.png", mode) for mode in ("L", "RGB", "RGBA", "P", "1", "LA", "I;16")]
    kinds += [("p.jpg", mode) for mode in ("L", "RGB", "CMYK")]

    def written(folder: Path, name: str, mode: str) -> None:
        turned = Image.new("I;16", (8, 6)) if mode == "I;16" else square.convert(mode)
        exif = Image.Exif()
        exif[0x0112] = 6
        turned.save(folder / name, exif=exif)

    yield from made(*(lambda folder, n=name, m=mode: written(folder, n, m) for name, mode in kinds))


def weights() -> Iterator[bytes]:
    factors = eckart.Factors(W[:, :2], W[:2])
    tensors = {"w": W.astype(np.float32), "h": W.astype(np.float16), "n": np.arange(3)}
    yield from made(
        lambda folder: save_file(tensors, folder / "m.safetensors", {"format": "pt"}),
        lambda folder: save_file({"moments": W.T @ W}, folder / "m.safetensors"),
        lambda folder: factors.save(folder / "f.safetensors"),
        lambda folder: eckart.factorize(W, 1).factors.save(folder / "f.safetensors"),
    )


def factor_folders() -> Iterator[bytes]:
    factors = eckart.Factors(W[:, :2], W[:2])

    def command(place: Path) -> None:
        np.save(place.with_name("W.npy"), W)
        quietly(["factor", str(place.with_name("W.npy")), "--rank", "1", "-o", str(place)])

    yield framed({"B.csv": b"1,2\n3,4\n", "A.csv": b"1,0,1\n0,1,1\n"})
    yield from made(
        lambda folder: _lifted(folder, factors.save), lambda folder: _lifted(folder, command)
    )


def models() -> Iterator[bytes]:
    def alone(folder: Path) -> None:
        _lifted(folder, saved_pair, "tuned")

    def shards(folder: Path) -> None:
        names = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")
        save_file({"a.weight": W.astype(np.float32)}, folder / names[0])
        save_file({"b.weight": W[0].astype(np.float32)}, folder / names[1])
        index = {"weight_map": {"a.weight": names[0], "b.weight": names[1]}}
        (folder / "model.safetensors.index.json").write_text(json.dumps(index))
        config = {"model_type": "llama", "quantization_config": {"quant_method": "gptq"}}
        (folder / "config.json").write_text(json.dumps(config))

    yield from made(alone, shards)


def adapters() -> Iterator[bytes]:
    def own(folder: Path) -> None:
        _lifted(folder, extracted, "adapter")
        for name in ("report.html", "README.md"):
            (folder / name).unlink()

    def foreign(folder: Path) -> None:
        prefix = "base_model.model.model.layers.0"
        tensors = {
            f"{prefix}.q_proj.lora_A.weight": W[:2].astype(np.float32),
            f"{prefix}.q_proj.lora_B.weight": W[:, :2].astype(np.float32),
            f"{prefix}.norm.weight": W[0].astype(np.float32),
        }
        save_file(tensors, folder / "adapter_model.safetensors")
        settings = {"peft_type": "LORA", "r": 8, "lora_alpha": 16, "use_rslora": True,
                    "rank_pattern": {"q_.*": 2}, "alpha_pattern": {"layers.0.q_proj": 4},
                    "target_modules": ["q_proj"], "modules_to_save": ["norm"]}  # fmt: skip
        (folder / "adapter_config.json").write_text(json.dumps(settings))

    yield from made(own, foreign)


def runs() -> Iterator[bytes]:
    """The unfinished work of an extraction that was interrupted after it factored a few layers."""

    class Stop(Exception):
        """Ends a run."""

    def stopped(folder: Path) -> None:
        seen: list[object] = []

        def stop(*one: object) -> None:
            seen.append(one)
            if len(seen) == 5:
                raise Stop

        with TemporaryDirectory() as name:
            base, model = saved_pair(Path(name))
            try:
                extract_adapter(base, model, Path(name) / "out", rank=2, on_tensor=stop)
            except Stop:
                for path in (Path(name) / "out.unfinished").iterdir():
                    path.rename(folder / path.name)

    yield from made(stopped)


def recommenders() -> Iterator[bytes]:
    small = {"users": 5, "items": 4, "share": 0.6}
    yield from made(
        lambda folder: _lifted(folder, lambda place: save_model(fitted(read(**small)), place)),
        lambda folder: _lifted(
            folder,
            lambda place: save_model(fitted(read(**small), rank=1, method="gibbs"), place),
        ),
    )


def pickled() -> Iterator[bytes]:
    import torch

    tensors = {"w": torch.arange(6.0).reshape(2, 3), "b": torch.ones(2, dtype=torch.bfloat16)}

    def old(folder: Path) -> None:
        torch.save(tensors, folder / "m.pt", _use_new_zipfile_serialization=False)

    def compressed(folder: Path) -> None:
        torch.save(tensors, folder / "n.pt")
        with (
            zipfile.ZipFile(folder / "n.pt") as source,
            zipfile.ZipFile(folder / "m.pt", "w", zipfile.ZIP_DEFLATED) as target,
        ):
            for name in source.namelist():
                target.writestr(name, source.read(name))
        (folder / "n.pt").unlink()

    yield from made(
        lambda folder: torch.save(tensors, folder / "m.pt"),
        lambda folder: torch.save({"state_dict": tensors, "epoch": 3}, folder / "m.bin"),
        old,
        compressed,
        unpacked=True,
    )


def hdf5() -> Iterator[bytes]:
    import h5py

    def plain(folder: Path) -> None:
        with h5py.File(folder / "t.h5", "w") as file:
            file.create_dataset("W", data=W, chunks=(2, 2), compression="gzip")

    def packed(folder: Path) -> None:
        with h5py.File(folder / "t.h5", "w") as file:
            stored = file.create_dataset("t", data=np.arange(6, dtype=np.int16).reshape(2, 3))
            stored.attrs["scale_factor"], stored.attrs["add_offset"] = 0.5, 10.0
            stored.attrs["_FillValue"] = np.int16(3)

    def annotated(folder: Path) -> None:
        with h5py.File(folder / "t.h5ad", "w") as file:
            file.attrs["encoding-type"] = "anndata"
            stored = scipy.sparse.csr_array(W)
            group = file.create_group("X")
            group.attrs["encoding-type"], group.attrs["shape"] = "csr_matrix", W.shape
            for name in ("data", "indices", "indptr"):
                group[name] = getattr(stored, name)
            var = file.create_group("var")
            var.attrs["_index"] = "gene"
            var["gene"] = np.array([b"x", b"y", b"z"])
            file.create_group("obs")

    yield from made(plain, packed, annotated)


def zarr_folders() -> Iterator[bytes]:
    import zarr

    def array(folder: Path) -> None:
        zarr.save_array(str(folder / "t.zarr"), W)

    def older(folder: Path) -> None:
        zarr.save_array(str(folder / "t.zarr"), W, zarr_format=2)

    def group(folder: Path) -> None:
        opened = zarr.open_group(str(folder / "t.zarr"), mode="w")
        opened.create_array("W", data=W, chunks=(2, 2))
        opened.create_array("x", data=W[0])

    yield from made(array, older, group)


def quietly(words: list[str]) -> None:
    """Run a command whose answer nobody wants to see."""
    with contextlib.redirect_stdout(io.StringIO()):
        main([*words, "--quiet"])


def _lifted(folder: Path, save: Callable[[Path], object], name: str = "") -> None:
    """What a function writes as a folder, or one in it, moved into the one that is there."""
    with TemporaryDirectory() as place:
        save(Path(place) / "new")
        for path in (Path(place) / "new" / name).iterdir():
            shutil.move(path, folder / path.name)
