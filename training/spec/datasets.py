"""The datasets: what a sample consists of, and which labels a probe predicts from it.

Digits and Trifeatures are made here. All others are registered first (`fusebox datasets add`), which writes down what
they are in a card; a spec names such a dataset and, once it is checked, carries the card, so that it is complete.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import (
    BeforeValidator,
    Discriminator,
    Field,
    Tag,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from training.events import Family
from training.spec.base import Protocol, Spec, by_name, whole
from training.spec.encoders import EncoderSpec, Kind

Change = Literal["drop", "noise", "permute", "crop", "mixup"]
"""How a view may change a sequence or a table."""
CHANGES: Mapping[Kind, tuple[Change, ...]] = {
    "image": (),
    "text": (),
    "sequence": ("drop", "noise", "permute", "crop", "mixup"),
    "table": ("drop", "noise", "mixup"),
}
"""Which suit which kind: a table's columns have neither order nor neighbours."""
SplitName = Literal["train", "val", "test"]


class Modality(Spec):
    """One kind of measurement in every sample of a dataset."""

    name: str
    kind: Kind
    channels: int = 0
    size: int = 0
    """Images: height and width in pixels."""
    max_tokens: int = 0
    """Texts: longest token sequence."""
    length: int = 0
    """Sequences: most steps. Shorter ones are padded at their end with steps of zeros."""
    features: int = 0
    """Sequences: numbers per step; tables: columns."""
    encoder: EncoderSpec | None = None
    """What is usual for such data; a model may choose another."""
    changes: tuple[Change, ...] = ()
    """Sequences and tables: what a view does, each with probability one half, in this order."""

    @field_validator("changes")
    @classmethod
    def _changes_fit_kind(cls, changes: tuple[Change, ...], info: ValidationInfo) -> tuple[Change, ...]:
        kind = info.data.get("kind", "image")
        wrong = [each for each in changes if each not in CHANGES[kind]]
        if wrong:
            raise PydanticCustomError(
                "change_not_for_kind",
                "'{change}' does not suit a modality of the kind {kind}; choose from {choices}",
                {"change": wrong[0], "kind": kind, "choices": ", ".join(CHANGES[kind]) or "none"},
            )
        return changes

    @property
    def patch_size(self) -> int:
        """Images: pixels along a patch's side, the largest divisor of the size up to 16 that leaves at least 4 × 4
        patches, or 3 × 3 where none does; 1 where there is no such divisor."""
        divisors = [side for side in range(2, 17) if self.size % side == 0 and self.size // side >= 3]
        return max([side for side in divisors if self.size // side >= 4] or divisors, default=1)


class Task(Spec):
    """What a probe predicts from the fused embedding."""

    name: str
    family: Family
    classes: int
    """Classes of which one is right, labels of which any may be, or numbers of a regression."""
    type: Literal["class", "multilabel", "regression"] = "class"

    @property
    def chance(self) -> float | None:
        """Macro accuracy of guessing a class, in [0, 1]; none for the other types."""
        return 1 / self.classes if self.type == "class" else None


Form = Literal["pairs", "captions", "triples"]


class _Pairs(Spec):
    """What digits and Trifeatures share: the bimodal construction of FactorCL (arXiv:2306.05268) and CoMM."""

    MOST_PAIRS: ClassVar[dict[bool, int]]
    """Different training pairs that there are, biased or not."""

    form: Form = "pairs"
    """`pairs`: two images that share one attribute; `captions`: an image and its caption; `triples`: both images
    and a caption of the first."""
    biased: bool = False
    """Train only on pairs with the synergy relation. Probes always see pairs with and without it."""
    n_pairs: Annotated[int, whole(64, 1_000_000)] = 10_000
    """Training pairs, drawn without replacement from all allowed ones. With captions: samples, of which none comes
    twice before all have come once."""
    augment: bool = True
    """Random crops and distortions of training images; the test images are never touched."""

    @field_validator("biased", "balanced_probes", check_fields=False)
    @classmethod
    def _only_pairs_have_the_relation(cls, asked: bool, info: ValidationInfo) -> bool:
        if asked and info.data.get("form") == "captions":
            raise PydanticCustomError(
                "captions_not_related",
                "an image and its caption have no synergy relation to choose by; leave `{field}` out, or take the "
                "form 'pairs' or 'triples'",
                {"field": info.field_name},
            )
        return asked

    @field_validator("n_pairs")
    @classmethod
    def _pairs_are_there(cls, n_pairs: int, info: ValidationInfo) -> int:
        most = cls.MOST_PAIRS[info.data.get("biased", False)]
        if info.data.get("form") != "captions" and n_pairs > most:
            raise PydanticCustomError(
                "too_many_pairs",
                "{asked} pairs are asked for but the dataset has {most} such training pairs; take at most that many",
                {"asked": n_pairs, "most": most},
            )
        return n_pairs

    @property
    def n_train(self) -> int:
        """Samples that a training sees."""
        return self.n_pairs

    def n_train_under(self, protocol: Protocol) -> int:
        """The same whatever the protocol."""
        return self.n_pairs

    def _modalities(self, channels: int, size: int) -> tuple[Modality, ...]:
        def image(name: str) -> Modality:
            return Modality(name=name, kind="image", channels=channels, size=size)

        text = Modality(name="text", kind="text", max_tokens=16)
        return {
            "pairs": (image("image1"), image("image2")),
            "captions": (image("image"), text),
            "triples": (image("image1"), image("image2"), text),
        }[self.form]


class Digits(_Pairs):
    """1,797 real handwritten digits of 8 × 8 pixels, as scanned for NIST and shipped with scikit-learn."""

    MOST_PAIRS: ClassVar[dict[bool, int]] = {False: 1_032_545, True: 206_485}

    name: Literal["digits"] = "digits"
    image_size: Annotated[int, whole(8, 64)] = 8

    @property
    def modalities(self) -> tuple[Modality, ...]:
        return self._modalities(1, self.image_size)

    @property
    def tasks(self) -> tuple[Task, ...]:
        if self.form == "captions":
            return (Task(name="digit", family="redundancy", classes=10),)
        return (
            Task(name="share", family="redundancy", classes=2),
            Task(name="unique1", family="uniqueness", classes=10),
            Task(name="unique2", family="uniqueness", classes=10),
            Task(name="synergy", family="synergy", classes=2),
        )


class Trifeatures(_Pairs):
    """Rendered shapes with a texture and a colour (Hermann & Lampinen, arXiv:2006.12433)."""

    MOST_PAIRS: ClassVar[dict[bool, int]] = {False: 576_846, True: 57_636}

    name: Literal["trifeatures"] = "trifeatures"
    image_size: Annotated[int, whole(16, 224)] = 224
    views: Literal["full", "light"] = "full"
    """Of training images: SimCLR's, as published; or small movements, another brightness and noise, which leave the colour
    and the texture that a small image still shows."""
    balanced_probes: bool = False
    """Half of the pairs that probes are fitted on have the synergy relation; as published a tenth have, of which a probe
    that sees a little of it scores best by always saying no. Test pairs are the same."""

    @property
    def modalities(self) -> tuple[Modality, ...]:
        return self._modalities(3, self.image_size)

    @property
    def tasks(self) -> tuple[Task, ...]:
        if self.form == "captions":
            return (
                Task(name="shape", family="redundancy", classes=10),
                Task(name="color", family="redundancy", classes=10),
                Task(name="texture", family="uniqueness", classes=10),
            )
        return (
            Task(name="share", family="redundancy", classes=10),
            Task(name="unique1", family="uniqueness", classes=10),
            Task(name="unique2", family="uniqueness", classes=10),
            Task(name="synergy", family="synergy", classes=2),
        )


class Card(Spec):
    """What registering a dataset found: all that a spec must know of it."""

    modalities: Annotated[tuple[Modality, ...], Field(min_length=1, max_length=8)]
    tasks: tuple[Task, ...]
    samples: Mapping[SplitName, int]
    """Per split; without `val`, what a probe selects by is held out of `train`."""
    reference_samples: Mapping[SplitName, int] | None = None
    """Per split under protocol `reference`, for data whose published splits share samples."""
    default_tasks: tuple[str, ...] = ()
    """The tasks that are meant when none is named; all by default."""
    default_modalities: tuple[str, ...] = ()
    shared_coins: bool = False
    """Whether a change of a sample's view is made to all its sequences and tables or to none, as published for MOSI,
    UR-FUNNY and MUSTARD; else each decides for itself."""


DATASET_NAME = r"[a-z0-9][a-z0-9._-]{0,62}"


class Registered(Spec):
    """A dataset that was registered, by the name it was given. `sha256` and `card` are filled in when a spec is checked."""

    name: Annotated[str, Field(pattern=f"^{DATASET_NAME}$")]
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    """Of the dataset's manifest, and so of all its content."""
    card: Card
    use: tuple[str, ...] | None = None
    """The modalities, in this order; by default those usual for the data."""
    predict: tuple[str, ...] | None = None
    """The tasks that probes predict; by default those usual for the data."""
    augment: bool = True
    """Random views of training samples."""

    @model_validator(mode="after")
    def _names_are_there(self) -> Self:
        for asked, have, what in (
            (self.use, [each.name for each in self.card.modalities], "use"),
            (self.predict, [each.name for each in self.card.tasks], "predict"),
        ):
            wrong = [name for name in asked or () if name not in have]
            if wrong or (asked is not None and (not asked or len(set(asked)) < len(asked))):
                raise PydanticCustomError(
                    f"dataset_{what}",
                    "`{what}` names {problem}; dataset '{dataset}' has {have}, name at least one of them and none twice",
                    {
                        "what": what,
                        "problem": f"'{wrong[0]}', which is not there" if wrong else "none, or one twice",
                        "dataset": self.name,
                        "have": ", ".join(have) or "none",
                        "loc": f"dataset.{what}",
                    },
                )
        return self

    @property
    def form(self) -> str:
        """Its modalities, for messages."""
        return "+".join(each.name for each in self.modalities)

    @property
    def n_train(self) -> int:
        """Samples that a training sees under protocol `strict`."""
        return self.n_train_under("strict")

    def n_train_under(self, protocol: Protocol) -> int:
        """Samples that a training sees."""
        published = self.card.reference_samples if protocol == "reference" else None
        return (published or self.card.samples)["train"]

    @property
    def modalities(self) -> tuple[Modality, ...]:
        return _chosen(self.card.modalities, self.use or self.card.default_modalities)

    @property
    def tasks(self) -> tuple[Task, ...]:
        return _chosen(self.card.tasks, self.predict or self.card.default_tasks)


def _chosen(have: tuple[Any, ...], names: tuple[str, ...]) -> tuple[Any, ...]:
    return tuple(next(each for each in have if each.name == name) for name in names) or have


DATASETS: dict[str, type[Digits] | type[Trifeatures]] = {"digits": Digits, "trifeatures": Trifeatures}
"""Those that need not be registered."""
Lookup = Callable[[str], tuple[str, Card] | None]
"""Name of a registered dataset → its sha256 and card. Given to a validation as `context={"datasets": lookup}`."""


def _completed(value: Any, info: ValidationInfo) -> Any:
    """A registered dataset with its sha256 and card, when it is given by name and somebody can look it up."""
    value = by_name(value)
    if not isinstance(value, dict) or value.get("name") in DATASETS or info.context is None:
        return value
    name = value.get("name")
    found = info.context["datasets"](name) if isinstance(name, str) else None
    if found is None:
        raise PydanticCustomError(
            "unknown_dataset",
            "there is no dataset {name}; list those that there are with GET /v1/datasets, and register another with "
            "'fusebox datasets add'",
            {"name": repr(name)[:80]},
        )
    sha256, card = found
    if value.get("sha256", sha256) != sha256:
        raise PydanticCustomError(
            "dataset_changed",
            "dataset '{name}' was registered anew and is another one now; leave out `sha256` and `card` to take it",
            {"name": name},
        )
    return {**value, "sha256": sha256, "card": card}


def _which(value: Any) -> str | None:
    name = value.get("name") if isinstance(value, dict) else getattr(value, "name", None)
    return name if name in DATASETS else "registered" if isinstance(name, str) else None


DatasetSpec = Annotated[
    Annotated[Digits, Tag("digits")]
    | Annotated[Trifeatures, Tag("trifeatures")]
    | Annotated[Registered, Tag("registered")],
    Discriminator(
        _which,
        custom_error_type="dataset_name",
        custom_error_message="name a dataset, or give an object with its name and options",
    ),
    BeforeValidator(_completed),
]
