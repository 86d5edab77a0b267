"""The synthetic distortions that S-CNN is trained on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from photographs import photograph

from iqabench.pretraining.distortions import DISTORTIONS, GRADES, Grade, Pixels

DOCS = Path(__file__).parents[1] / "docs" / "pretraining.md"
KINDS = {d.name: kind for kind, d in enumerate(DISTORTIONS)}
NOISY = ("white Gaussian noise", "pink noise")


def distorted(image: Pixels, kind: int, level: int, seed: int = 0) -> Pixels:
    return Grade(kind, level).distort(image, np.random.default_rng(seed))


class TestDistortions:
    def test_seven_types_have_five_levels_and_two_have_two(self) -> None:
        assert [len(d.levels) for d in DISTORTIONS] == [5] * 7 + [2] * 2
        assert len(GRADES) == len({grade.label for grade in GRADES}) == 39

    @pytest.mark.parametrize("scene", ["astronaut", "china"])
    @pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
    def test_a_higher_level_is_further_from_the_image(self, kind: int, scene: str) -> None:
        image = photograph(scene, 160)
        errors = [
            float(np.square(distorted(image, kind, level).astype(float) - image).mean())
            for level in range(1, len(DISTORTIONS[kind].levels) + 1)
        ]
        assert errors[0] > 1
        assert errors == sorted(set(errors))

    @pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
    def test_the_generator_alone_decides_and_the_image_stays(self, kind: int) -> None:
        image = photograph("astronaut", 64)
        before = image.copy()
        found = [distorted(image, kind, 2, seed) for seed in (1, 1, 2)]
        assert np.array_equal(found[0], found[1])
        assert np.array_equal(found[0], found[2]) == (DISTORTIONS[kind].name not in NOISY)
        assert np.array_equal(image, before)

    @pytest.mark.parametrize("size", [(1, 1), (1, 9), (7, 3), (50, 21)], ids=str)
    @pytest.mark.parametrize("grade", GRADES, ids=lambda g: g.label)
    def test_any_size_and_flat_images_keep_shape_and_type(
        self, grade: Grade, size: tuple[int, int]
    ) -> None:
        drawn = np.random.default_rng(0).integers(0, 256, (*size, 3)).astype(np.uint8)
        for image in (drawn, np.zeros_like(drawn)):
            found = grade.distort(image, np.random.default_rng(0))
            assert found.shape == image.shape
            assert found.dtype == np.uint8

    def test_noise_has_its_deviation_and_its_spectrum(self) -> None:
        grey = np.full((256, 256, 3), 128, np.uint8)
        frequency = np.hypot(np.fft.fftfreq(256)[:, None], np.fft.fftfreq(256)[None])
        low, high = ((a <= frequency) & (frequency < 2 * a) for a in (0.05, 0.2))
        for name, energy in (("white Gaussian noise", 16.0), ("pink noise", 1.0)):
            kind = DISTORTIONS[KINDS[name]]
            noise = distorted(grey, KINDS[name], 2)[..., 0].astype(float) - 128
            assert noise.std() == pytest.approx(kind.levels[1], rel=0.15)
            power = np.abs(np.fft.fft2(noise)) ** 2
            # Four times the frequencies, sixteen times the area: pink has as much in every octave.
            assert power[high].sum() / power[low].sum() == pytest.approx(energy, rel=0.3)

    def test_values_by_hand(self) -> None:
        image = np.array([[[0, 100, 200], [50, 50, 200]]], np.uint8)
        over = distorted(image, KINDS["over-exposure"], 1)
        assert over.tolist() == [[[0, 137, 255], [69, 69, 255]]]  # 2 ** (1 / 2.2) is 1.3704
        contrast = distorted(image, KINDS["contrast change"], 2)
        assert contrast.tolist() == [[[40, 100, 160], [70, 70, 160]]]  # the mean is 100; 0.6

    @pytest.mark.parametrize("level", range(1, 6))
    def test_quantisation_leaves_so_many_colours(self, level: int) -> None:
        kind = KINDS["quantisation with colour dithering"]
        found = distorted(photograph("coffee", 96), kind, level)
        colours = len(np.unique(found.reshape(-1, 3), axis=0))
        assert 2 <= colours <= DISTORTIONS[kind].levels[level - 1]

    def test_the_documentation_has_every_level(self) -> None:
        rows = [line.strip("| ").split(" | ") for line in DOCS.read_text().splitlines()]
        table = {row[0]: row[1:] for row in rows if row[0] in KINDS}
        expected = {d.name: [", ".join(f"{x:g}" for x in d.levels), d.unit] for d in DISTORTIONS}
        assert table == expected
