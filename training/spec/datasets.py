"""The datasets: what a sample consists of, and which labels a probe predicts from it."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import BeforeValidator, Field, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

from training.events import Family
from training.spec.base import Spec, by_name, whole


class Modality(Spec):
    """One kind of measurement in every sample of a dataset."""

    name: str
    kind: Literal["image", "text"]
    channels: int = 0
    size: int = 0
    """Images: height and width in pixels."""
    max_tokens: int = 0
    """Texts: longest token sequence."""

    @property
    def patch_size(self) -> int:
        """Images: pixels along a patch's side, the largest divisor of the size up to 16 that leaves at least 4 × 4
        patches, or 3 × 3 where none does; 1 where there is no such divisor."""
        divisors = [side for side in range(2, 17) if self.size % side == 0 and self.size // side >= 3]
        return max([side for side in divisors if self.size // side >= 4] or divisors, default=1)


class Task(Spec):
    """A label that a probe predicts from the fused embedding."""

    name: str
    family: Family
    classes: int

    @property
    def chance(self) -> float:
        """Macro accuracy of guessing, in [0, 1]."""
        return 1 / self.classes


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

    @field_validator("biased")
    @classmethod
    def _only_pairs_are_biased(cls, biased: bool, info: ValidationInfo) -> bool:
        if biased and info.data.get("form") == "captions":
            raise PydanticCustomError(
                "captions_not_biased",
                "an image and its caption have no synergy relation to be biased to; leave `biased` out, or take the "
                "form 'pairs' or 'triples'",
            )
        return biased

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


DatasetSpec = Annotated[Digits | Trifeatures, Field(discriminator="name"), BeforeValidator(by_name)]
DATASETS: dict[str, type[Digits] | type[Trifeatures]] = {"digits": Digits, "trifeatures": Trifeatures}
