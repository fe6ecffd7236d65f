import numpy as np
import pytest

from mmal.colours import class_colours, hexadecimal, oklab


@pytest.mark.parametrize('number, least', [(10, 0.17), (20, 0.12), (80, 0.06)])
def test_colours_of_classes_are_told_apart(number, least):
    """0.02 of OKLab is about what people just notice."""
    lab = oklab(np.array(class_colours(number)) / 255)
    distances = np.linalg.norm(lab[:, None] - lab[None], axis=-1)
    assert distances[~np.eye(number, dtype=bool)].min() > least


def test_a_class_has_one_colour_whatever_the_number():
    assert class_colours(3) == class_colours(80)[:3]
    assert class_colours(0) == ()
    many = class_colours(1000)
    assert many[:200] == many[400:600] and len(set(many)) == 400


def test_colours_can_be_seen_on_both_grounds():
    """Contrast as WCAG 2 computes it: to white, and to the dark page, whose
    luminance is below 0.015."""
    for colour in class_colours(80):
        value = np.array(colour) / 255
        linear = np.where(value <= 0.04045, value / 12.92,
                          ((value + 0.055) / 1.055)**2.4)
        light = linear @ [0.2126, 0.7152, 0.0722]
        assert 1.05 / (light + 0.05) > 1.45, hexadecimal(colour)
        assert (light + 0.05) / (0.015 + 0.05) > 2.5, hexadecimal(colour)


def test_oklab_of_known_colours():
    """Of the table in Ottosson's article, by way of sRGB."""
    lab = oklab(np.array([[1., 1, 1], [0, 0, 0], [1, 0, 0]]))
    np.testing.assert_allclose(
        lab, [[1, 0, 0], [0, 0, 0], [0.62796, 0.22486, 0.12585]], atol=1e-4)
