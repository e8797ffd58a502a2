# SPDX-License-Identifier: GPL-3.0-or-later
"""A training on a GPU machine that is lent for minutes, knows nothing of this project and reaches no network.

python -m semcom_training.gpu pack RECIPE --data FOLDER --out FOLDER     here: everything into one file below 64 MiB
python -m semcom_training.gpu part FOLDER --out FOLDER --left 3          there, in what it unpacks to; then --left 2, 1

Nothing but the standard library is imported at first: what the machine lacks is said before a second of it is spent.
"""

import argparse
import importlib
import io
import random
import shlex
import subprocess
import sys
import tarfile
import time
from dataclasses import asdict, replace
from pathlib import Path

from semcom.errors import ConfigError, MissingError, SemcomError

#: what a part imports, and the name that pip knows it by
NEEDED = {
    "torch": "torch",
    "numpy": "numpy",
    "safetensors": "safetensors",
    "PIL": "pillow",
    "yaml": "pyyaml",
    "jsonschema": "jsonschema",
    "lightning_fabric": "lightning-fabric",
    "rich": "rich",
}
MIB = 2**20
PACK_MIB, MODEL_MIB = 64, 16
QUALITY = 88  # of WebP
PROBE_STEPS = 20
#: share of a part that is kept free at its end for the last weights and the end of the program
_END_SHARE = 0.01
_NO_LIMIT = 10**9


# --- here ---------------------------------------------------------------------------------------------------


def pack(
    recipe, data=None, out="packed", wheels=None, limit_mib=PACK_MIB, quality=QUALITY, say=print
) -> Path:
    """Code, start weights and as many of a recipe's pictures as there is room for, as ``<out>/<name>.tar``.

    Photos become WebP, unless their own file is smaller; CIFAR-10's sheets stay as they are, for they are lossless.
    Room is left for a trained model of the recipe, with which a later part goes on.

    Args:
        recipe: as in :func:`semcom_training.train.run`.
        data: the data folder, or None: the environment variable SEMCOM_DATA.
        wheels: folder of wheels that the other machine lacks; they are installed there, without a network.
        limit_mib: of the file and of what a later part takes with it. quality: of WebP, 1 to 100.

    Raises:
        ConfigError: a recipe with stages, of a decoder alone or with classes; wheels that are none; a model whose
            weights are above 16 MiB as float16; too little room for the pictures that the recipe holds out and one
        more. MissingError, ModelError, OutputError: as a training.
    """
    import yaml

    from semcom import files
    from semcom.system import zoo
    from semcom_training.data import data_root
    from semcom_training.models import build_codec
    from semcom_training.recipe import Recipe, load_recipe
    from semcom_training.recipe_form import upgraded

    recipe = recipe if isinstance(recipe, Recipe) else load_recipe(recipe)
    root = data_root(data)
    if recipe.stages or recipe.stage == "user":
        what = "has stages" if recipe.stages else "trains a decoder alone"
        raise ConfigError(f"recipe '{recipe.name}' {what}: only a whole codec in one training is packed.")
    codec = build_codec(recipe)[0]
    if codec.result.name == "label":
        raise ConfigError(f"recipe '{recipe.name}' needs the classes of its pictures, which are not packed.")
    model = weights_bytes(codec)
    if model > MODEL_MIB * MIB:
        raise ConfigError(
            f"a model of recipe '{recipe.name}' takes {model / MIB:.1f} MiB as float16, and {MODEL_MIB} MiB come back "
            "in one file: lower the widths or the number of blocks under 'model.arguments'."
        )
    members = {f"code/{name}": path.read_bytes() for name, path in _code(recipe).items()}
    if recipe.init_from:
        card = zoo.card_path(recipe.init_from)
        for path in (card, *zoo.companions(card)):
            members[f"start/{path.name}"] = path.read_bytes()
        recipe = replace(recipe, init_from=f"start/{card.name}")
    for path in _wheels(wheels):
        members[f"wheels/{path.name}"] = path.read_bytes()
    members["recipe.yaml"] = yaml.safe_dump(upgraded(asdict(recipe)), sort_keys=False).encode()

    room = limit_mib * MIB - model - _tar_bytes(members) - 2 * tarfile.RECORDSIZE  # its end is padded to one
    pictures, left_out = _pictures(recipe, root, room, quality)
    wholes = [name for name in recipe.data if Path(name).name == "cifar10"]
    if not pictures or not wholes and len(pictures) <= recipe.held_out:
        raise ConfigError(
            f"recipe '{recipe.name}': {len(pictures)} pictures fit beside code and weights, and {recipe.held_out} are "
            f"held out: raise the limit of {limit_mib:.1f} MiB, lower 'held_out', or pack with a lower quality."
        )
    members |= pictures
    path = files.write_bytes(files.writable_folder(out) / f"{recipe.name}.tar", _tar(members))
    say(
        f"{path}: {path.stat().st_size / MIB:.1f} MiB, {len(pictures)} files of pictures ({left_out} found no room), "
        f"{model / MIB:.1f} MiB left for a trained model."
    )
    name = recipe.name
    say(
        f"there: mkdir {name} && tar xf {shlex.quote(path.name)} -C {name} && PYTHONPATH={name}/code python3 -m "
        f"semcom_training.gpu part {name} --out OUT --left 3"
    )
    return path


def weights_bytes(codec) -> int:
    """The size of a model's file: float16, counters as they are, and names."""
    tensors = codec.state_dict().items()
    return sum(128 + t.numel() * (2 if t.is_floating_point() else t.element_size()) for _, t in tensors)


def _code(recipe) -> dict[str, Path]:
    """What a part may import or read, by its place; of weights only those that a loss compares with."""
    import semcom
    import semcom_training

    found = {}
    for package in (semcom, semcom_training):
        folder = Path(package.__file__).parent
        for path in sorted(folder.rglob("*")):
            place = path.relative_to(folder)
            wanted = path.suffix in (".py", ".json", ".yaml", ".csv") and "weights" not in place.parts
            if wanted or "lpips" in recipe.loss and place.parent == Path("perceptual/weights"):
                found[f"{folder.name}/{place.as_posix()}"] = path
    return found


def _wheels(folder) -> list[Path]:
    if folder is None:
        return []
    found = sorted(Path(folder).glob("*.whl")) if Path(folder).is_dir() else []
    if not found:
        raise ConfigError(
            f"{folder} holds no wheel (*.whl): `pip download --only-binary=:all:` fills a folder."
        )
    return found


def _pictures(recipe, root: Path, room: int, quality: int) -> tuple[dict[str, bytes], int]:
    """Files of pictures by place, within ``room`` bytes, in an order that the seed decides; and how many found none."""
    from semcom_training.data import image_files

    candidates = []
    for name in recipe.data:
        folder = Path(root) / name
        if not folder.is_dir():
            raise ConfigError(
                f"the recipe trains on '{name}', but {folder} does not exist: `semcom data get` fetches public sets."
            )
        cifar = folder.name == "cifar10"
        paths = sorted(folder.glob("train_[0-9][0-9].webp")) if cifar else image_files(folder, recipe.exclude)
        if cifar and not paths:
            paths = sorted(folder.rglob("data_batch_[1-5]"))
        candidates += [(f"data/{name}/{path.relative_to(folder).as_posix()}", path, cifar) for path in paths]
    random.Random(recipe.seed).shuffle(candidates)
    out, full = {}, 0
    for place, path, whole in candidates:
        if full:
            full += 1
            continue
        data = path.read_bytes() if whole else _photo(path, recipe.crop, quality)
        if data is None:
            continue
        if not whole and data[:4] == b"RIFF" and path.suffix.lower() != ".webp":
            place += ".webp"
        room -= _tar_bytes({place: data})
        if room < 0:
            full = 1
            continue
        out[place] = data
    return out, full


def _photo(path: Path, crop: int, quality: int) -> bytes | None:
    """A photo as WebP or as its own file, whichever is smaller; None: it is smaller than the crop."""
    from PIL import Image

    from semcom_training.data import read_image

    pixels = read_image(path)
    if min(pixels.shape[1:]) < max(crop, 1):
        return None
    blob = io.BytesIO()
    Image.fromarray(pixels.permute(1, 2, 0).numpy()).save(blob, "WEBP", quality=quality, method=4)
    own = path.read_bytes()
    return own if len(own) <= blob.tell() else blob.getvalue()


def _tar_bytes(members: dict[str, bytes]) -> int:
    """Bytes that files take in a tar: heads, and whole blocks."""
    block = tarfile.BLOCKSIZE
    heads = sum(len(tarfile.TarInfo(name).tobuf()) for name in members)
    return heads + sum(-(-len(data) // block) * block for data in members.values())


def _tar(members: dict[str, bytes]) -> bytes:
    blob = io.BytesIO()
    with tarfile.open(fileobj=blob, mode="w") as tar:
        for name, data in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    return blob.getvalue()


# --- there --------------------------------------------------------------------------------------------------


def part(
    folder,
    out,
    left: int = 1,
    minutes: float = 9.0,
    go_on=None,
    every: float = 2.0,
    device="auto",
    compiled: bool = True,
    say=print,
) -> Path:
    """One part of a training in what :func:`pack` made, unpacked; the last one ends the schedule in the time that it
    has.

    Some steps are timed first, with and without compiled networks where there is a GPU, and the faster is taken; where
    the GPU's memory does not suffice the batch is halved. ``<out>/<name>/`` then holds at each moment all that has to
    be kept: a model (float16 weights, averaged, and card) and the log. A part goes on from those alone.

    Args:
        folder: what the packed file was unpacked to.
        left: how many parts are left, this one included.
        minutes: of this part, everything included.
        go_on: folder with the model and the log of the part before, where ``out`` does not hold them.
        every: minutes from one writing of the model to the next.
        device: ``cpu``, ``cuda`` or ``auto``. compiled: False never compiles.

    Returns:
        The card of the model.

    Raises:
        MissingError: the machine lacks a package.
        ConfigError: no unpacked folder; the model in ``go_on`` is of another recipe; the time is over before the
            training begins.
        TrainingError: not one picture fits into the GPU's memory; weights are no longer numbers.
    """
    began = time.monotonic()
    folder = Path(folder)
    if not (folder / "recipe.yaml").is_file():
        raise ConfigError(
            f"{folder} holds no recipe.yaml: unpack what `semcom_training.gpu pack` made, and name that."
        )
    if left < 1 or not minutes > 0 or not every > 0:
        raise ConfigError(f"left, minutes and every must be above 0, not {left}, {minutes:g} and {every:g}.")
    provide(folder)
    say(f"all of {', '.join(NEEDED)} are here")

    from semcom.files import writable_folder
    from semcom_training.machine import hardware, make_fabric
    from semcom_training.recipe import load_recipe
    from semcom_training.train import prepare, run

    recipe = load_recipe(folder / "recipe.yaml")
    origin = Path(recipe.init_from).stem
    place = writable_folder(Path(out) / recipe.name)
    recipe, begin = where_it_stands(recipe, folder, place, go_on)
    if left == 1 and begin.step == 0:
        say("this is the first part and the last")
    fabric = make_fabric(device)
    say(f"{hardware(fabric.device)}, PyTorch {_version('torch')}")
    training = prepare(recipe, folder / "data", fabric)
    seconds = fitted(training, say)
    if compiled and fabric.device.type == "cuda":
        seconds = compiled_if_faster(training, seconds, say)
    recipe = training.recipe
    remaining = 60 * minutes * (1 - _END_SHARE) - (time.monotonic() - began)
    if remaining <= 0:
        raise ConfigError(
            f"after {(time.monotonic() - began) / 60:.1f} minutes of preparation nothing is left of {minutes:g}: "
            "give more."
        )
    say(
        f"{1000 * seconds:.1f} ms a step, {recipe.batch / seconds:.0f} images/s: about {remaining / seconds:.0f} steps "
        f"in this part after step {begin.step}, and {(left - 1) * remaining / seconds:.0f} in those that follow"
    )
    training.recipe = recipe = replace(
        recipe,
        steps=_NO_LIMIT,  # minutes decide
        max_minutes=(begin.seconds + left * remaining) / 60,
        checkpoint_minutes=every,
        log_every=max(1, round(30 * every / seconds)),
    )
    card = place / f"{recipe.name}.json"

    def keep(training, state):
        write_model(training, state, place, origin)

    run(
        recipe,
        out=out,
        stop_after=remaining / 60,
        begin=begin,
        keep=keep,
        training=training,
        export=False,
    )
    say(f"{card} and what lies beside it come back; {left - 1} parts are left")
    return card


def provide(folder: Path) -> None:
    """Installs what is missing of ``NEEDED`` from the wheels in ``folder``, into a folder of its own.

    Raises:
        MissingError: the rest is missing.
    """
    wheels = sorted((folder / "wheels").glob("*.whl"))
    if missing() and wheels:
        site = folder / "site"
        how = ["--no-index", "--no-deps", "--no-compile", "--quiet", "--upgrade", "--target", str(site)]
        done = subprocess.run([sys.executable, "-m", "pip", "install", *how, *map(str, wheels)], check=False)
        if done.returncode:
            raise MissingError(f"the wheels in {folder / 'wheels'} could not be installed: pip has said why.")
        sys.path.insert(0, str(site))
        importlib.invalidate_caches()
    if lacking := missing():
        names = " ".join(NEEDED[name] for name in lacking)
        raise MissingError(
            f"this machine lacks {names}: pack again with --wheels FOLDER, which `pip download --only-binary=:all: "
            f"-d FOLDER {names}` fills (for this machine's Python {sys.version_info[0]}.{sys.version_info[1]})."
        )


def missing() -> list[str]:
    """Which of ``NEEDED`` this Python cannot import."""
    return [name for name in NEEDED if not _importable(name)]


def _importable(name: str) -> bool:
    try:
        importlib.import_module(name)
    except ImportError:
        return False
    return True


def where_it_stands(recipe, folder: Path, place: Path, go_on=None):
    """The recipe with the weights from which a part starts, and how far the training is.

    Raises:
        ConfigError: ``go_on`` holds no model of the recipe, or the model is of another recipe.
    """
    from semcom.system import zoo
    from semcom.system.card import read_card
    from semcom_training.checkpoint import Progress

    name = f"{recipe.name}.json"
    if recipe.init_from:
        recipe = replace(recipe, init_from=str(folder / recipe.init_from))
    if go_on is not None and not (place / name).exists():
        source = Path(go_on)
        if not (source / name).is_file():
            raise ConfigError(f"{source} holds no {name}: give the folder that the part before wrote.")
        for path in [*zoo.companions(source / name), source / name, source / "log.csv"]:
            if path.exists():
                (place / path.name).write_bytes(path.read_bytes())
    if not (place / name).exists():
        return recipe, Progress()
    card = read_card(place / name)
    same = asdict(recipe)
    changed = [
        key
        for key in (
            "architecture",
            "arguments",
            "data",
            "crop",
            "loss",
            "optimiser",
            "ema",
            "seed",
            "channel",
        )
        if same[key] != card.recipe.get(key)
    ]
    if changed:
        raise ConfigError(
            f"{place / name} was trained with other values of {', '.join(changed)}: use another output folder."
        )
    recipe = replace(recipe, init_from=str(place / name), batch=card.recipe["batch"], start="guessed")
    return recipe, Progress(card.budget["steps"], 60 * card.budget["minutes"])


def fitted(training, say=print) -> float:
    """Seconds of a step; the recipe's batch is halved until the GPU has memory for it.

    Raises:
        TrainingError: there is not even memory for one picture.
    """
    import torch

    from semcom_training.errors import TrainingError

    while True:
        batch = training.recipe.batch
        try:
            return timed(training)
        except torch.OutOfMemoryError:
            if batch == 1:
                raise TrainingError(
                    "the GPU's memory does not suffice for a batch of one picture: lower 'data.crop' or the network's "
                    "widths."
                ) from None
        # outside of the handler, whose traceback holds what the step had made
        training.recipe = replace(training.recipe, batch=batch // 2)
        _forget(training)
        say(f"the GPU's memory does not suffice for a batch of {batch}: {batch // 2} from now on")


def timed(training) -> float:
    """Mean seconds of ``PROBE_STEPS`` steps at learning rate 0 after two others; leaves the training as it was."""
    import torch

    from semcom_training.train import take_step

    for step in range(2):
        take_step(training, step, 0.0)
    on_gpu = training.fabric.device.type == "cuda"
    if on_gpu:
        torch.cuda.synchronize()
    start = time.perf_counter()
    for step in range(PROBE_STEPS):
        take_step(training, step, 0.0)
    if on_gpu:
        torch.cuda.synchronize()
    seconds = (time.perf_counter() - start) / PROBE_STEPS
    for optimiser in training.optimisers:
        optimiser.state.clear()
    return seconds


def compiled_if_faster(training, seconds: float, say=print) -> float:
    """Compiles the codec's networks where that works here and is faster; returns the seconds of a step then."""
    networks = [getattr(training.codec, name) for name in training.codec.networks]
    if not networks:
        return seconds
    for network in networks:
        network.compile()
    try:
        faster = timed(training)
    except Exception as error:  # whatever compilers, drivers and memory make of it: there is a way without
        faster = float("inf")
        say(f"networks stay as they are, for they could not be compiled ({type(error).__name__})")
    if faster < seconds:
        say(f"compiled networks: {1000 * seconds:.1f} -> {1000 * faster:.1f} ms a step")
        return faster
    for network in networks:
        network._compiled_call_impl = None
    _forget(training)
    return seconds


def _forget(training) -> None:
    """Frees what an interrupted step has left."""
    import torch

    for optimiser in training.optimisers:
        optimiser.zero_grad(set_to_none=True)
        optimiser.state.clear()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def write_model(training, state, place: Path, origin: str = "") -> None:
    """The averaged weights as a model whose card says how far the training is, and from which model it started.

    Raises:
        TrainingError: a weight is no number; the model before stays.
        OutputError: it cannot be written; likewise.
    """
    from semcom_training.checkpoint import all_numbers
    from semcom_training.errors import TrainingError
    from semcom_training.export import export_model

    if not all_numbers(training.average):
        raise TrainingError(
            f"after step {state.step} a weight is not a number: the training stops, and the model in {place} is that of "
            "before. Lower learning_rate in the recipe.yaml and start the same command again."
        )
    recipe = replace(training.recipe, steps=state.step, max_minutes=state.seconds / 60, init_from=origin)
    export_model(recipe, training.averaged, place, state.step, state.seconds, measure=False)


def _version(package: str) -> str:
    return sys.modules[package].__version__


def main(arguments=None) -> int:
    """The command line; returns its exit status."""
    parser = argparse.ArgumentParser(prog="semcom_training.gpu", description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    here = commands.add_parser("pack", help="code, weights and pictures into one file")
    here.add_argument("recipe")
    here.add_argument("--data", help="data folder; default: $SEMCOM_DATA")
    here.add_argument("--out", default="packed")
    here.add_argument("--wheels", help="folder of wheels that the other machine lacks")
    here.add_argument("--limit-mib", type=float, default=PACK_MIB)
    here.add_argument("--quality", type=int, default=QUALITY, choices=range(1, 101), metavar="1..100")
    there = commands.add_parser("part", help="train for some minutes")
    there.add_argument("folder")
    there.add_argument("--out", required=True)
    there.add_argument("--left", type=int, default=1, help="parts left, this one included")
    there.add_argument("--minutes", type=float, default=9.0)
    there.add_argument("--go-on", help="folder that the part before wrote, where --out does not hold it")
    there.add_argument("--every", type=float, default=2.0, help="minutes between two writings of the model")
    there.add_argument("--device", default="auto")
    there.add_argument("--no-compile", dest="compiled", action="store_false")
    given = vars(parser.parse_args(arguments))
    command = {"pack": pack, "part": part}[given.pop("command")]
    try:
        command(**given)
    except SemcomError as error:
        print(f"semcom_training.gpu: {error}", file=sys.stderr)
        return error.exit_status
    return 0


if __name__ == "__main__":
    sys.exit(main())
