"""Pictures with known answers, as their publishers lay them out in folders; nothing is decoded here."""

from dataclasses import dataclass
from pathlib import Path

from pipelines.errors import InputRefused
from pipelines.learn.evaluation import NORMAL

_PICTURES = {".png", ".jpg", ".jpeg", ".tif", ".tiff"}
_MVTEC = "train/good, test/<class>/ and ground_truth/<class>/<stem>_mask.png"


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownFrame:
    """``label`` is ``good`` or the defect's class; ``mask``, if there is one, is non-zero at the defect."""

    file: Path
    label: str
    mask: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class MvtecProduct:
    name: str
    train: tuple[Path, ...]
    test: tuple[KnownFrame, ...]

    @property
    def classes(self) -> tuple[str, ...]:
        """The defect classes, by name."""
        return tuple(sorted({frame.label for frame in self.test} - {NORMAL}))


@dataclass(frozen=True, slots=True, kw_only=True)
class MvtecLayout:
    """``products`` come by name, their pictures by file name, so that every run sees the same order."""

    products: tuple[MvtecProduct, ...]


def read_mvtec_layout(folder: Path) -> MvtecLayout:
    """Read the folder of one product, or of several products side by side.

    Raises:
        InputRefused: It is laid out otherwise, or a defective picture lacks its mask though others have one.
    """
    if not folder.is_dir():
        raise InputRefused(f"{folder}: no such folder")
    if (folder / "train").is_dir() or (folder / "test").is_dir():
        return MvtecLayout(products=(_read_product(folder),))
    inside = [entry for entry in _folders(folder) if (entry / "train").is_dir() and (entry / "test").is_dir()]
    if not inside:
        raise InputRefused(f"{folder}: neither a product nor a folder of products; one product has {_MVTEC}")
    return MvtecLayout(products=tuple(_read_product(entry) for entry in inside))


def _read_product(folder: Path) -> MvtecProduct:
    train = _pictures(folder / "train" / NORMAL)
    if not train:
        raise InputRefused(f"{folder / 'train' / NORMAL}: no pictures; one product has {_MVTEC}")
    test = [frame for entry in _folders(folder / "test") for frame in _read_class(folder, entry)]
    if not test:
        raise InputRefused(f"{folder / 'test'}: no pictures; one product has {_MVTEC}")
    return MvtecProduct(name=folder.resolve().name, train=train, test=tuple(test))


def _read_class(product: Path, folder: Path) -> list[KnownFrame]:
    masks = product / "ground_truth" / folder.name
    frames = []
    for file in _pictures(folder):
        mask = masks / f"{file.stem}_mask.png" if masks.is_dir() and folder.name != NORMAL else None
        if mask is not None and not mask.is_file():
            raise InputRefused(f"{file}: no mask {mask}; add it, or remove the picture")
        frames.append(KnownFrame(file=file, label=folder.name, mask=mask))
    return frames


def _folders(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted(entry for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith("."))


def _pictures(folder: Path) -> tuple[Path, ...]:
    if not folder.is_dir():
        return ()
    return tuple(
        sorted(
            entry
            for entry in folder.iterdir()
            if entry.suffix.lower() in _PICTURES and entry.is_file() and not entry.name.startswith(".")
        )
    )


DEEP_PCB_DEFECTS = {1: "open", 2: "short", 3: "mousebite", 4: "spur", 5: "spurious copper", 6: "pin-hole"}


@dataclass(frozen=True, slots=True, kw_only=True)
class DefectBox:
    """A half-open box that a person drew around a defect."""

    left: int
    top: int
    right: int
    bottom: int
    defect: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DeepPcbPair:
    """``template`` shows the same part of the board without a defect."""

    name: str
    template: Path
    tested: Path
    boxes: tuple[DefectBox, ...]


def read_deep_pcb(folder: Path) -> tuple[DeepPcbPair, ...]:
    """Read ``N_temp.jpg``, ``N_test.jpg`` and ``N.txt`` (``x1 y1 x2 y2 type`` a line), ordered by name.

    Raises:
        InputRefused: There are none, one of a pair is missing, or a line cannot be read.
    """
    pairs = []
    for tested in sorted(folder.glob("*_test.jpg")) if folder.is_dir() else []:
        name = tested.name.removesuffix("_test.jpg")
        template, notes = folder / f"{name}_temp.jpg", folder / f"{name}.txt"
        for file in (template, notes):
            if not file.is_file():
                raise InputRefused(f"{file}: missing, though {tested.name} is there")
        lines = enumerate(notes.read_text(encoding="utf-8").splitlines(), start=1)
        boxes = tuple(_read_box(line, f"{notes}:{number}") for number, line in lines if line.strip())
        pairs.append(DeepPcbPair(name=name, template=template, tested=tested, boxes=boxes))
    if not pairs:
        raise InputRefused(f"{folder}: no DeepPCB pairs (N_temp.jpg, N_test.jpg, N.txt) there")
    return tuple(pairs)


def _read_box(line: str, place: str) -> DefectBox:
    try:
        left, top, right, bottom, kind = map(int, line.replace(",", " ").split())
        defect = DEEP_PCB_DEFECTS[kind]
    except (ValueError, KeyError) as error:
        raise InputRefused(f"{place}: {line!r} is not x1 y1 x2 y2 and a type from 1 to 6") from error
    if not (0 <= left < right and 0 <= top < bottom):
        raise InputRefused(f"{place}: {line!r} is an empty box")
    return DefectBox(left=left, top=top, right=right, bottom=bottom, defect=defect)
