"""The verdict on a run, from figures made by hand."""

from config.taxonomy import DEFAULT, read_taxonomy
from evaluation.verdict import verdict

TAXONOMY = read_taxonomy(DEFAULT)
NOTHING = {"about": {}, "figures": {}}


def figure(value: float, half: float = 0.02) -> dict:
    return {"value": value, "low": value - half, "high": value + half, "n": 200}


def test_it_says_what_is_better_what_is_not_and_against_which_baseline():
    naming, binary = "multiple_forced_balanced_accuracy", "binary_balanced_accuracy"
    understanding = {
        "about": {"models": {"before": "a", "after": "b"}, "incomplete": {"after": "7 of 8 emotions"}},
        "figures": {
            "before": {naming: figure(0.4), binary: figure(0.65)},
            "after": {naming: figure(0.84), binary: figure(0.66)},
            "blind": {binary: figure(0.5)},
        },
        "paired": {
            "after - before": {naming: figure(0.44), binary: figure(0.01)},
            "after - clip_linear_probe": {naming: figure(-0.05)},
        },
    }
    names, others, blind = verdict({"understanding": understanding, "generation": NOTHING}, TAXONOMY)
    assert names == (
        "The trained model names the right one of 8 emotions for 0.840 of the images (7 of 8 emotions). Before training it"
        " did so for 0.400 (+0.440, 0.420 to 0.460). It is right less often than a linear probe of CLIP, the simplest"
        " baseline (-0.050, -0.070 to -0.030)."
    )
    assert others == ("The trained model shows no difference in: Binary, balanced 0.650 -> 0.660 (+0.010, -0.010 to 0.030).")
    assert "no better than chance" in blind
    understanding["figures"]["blind"][binary] = figure(0.6)
    understanding["paired"]["after - before"][binary] = figure(-0.1)
    _, others, blind = verdict({"understanding": understanding, "generation": NOTHING}, TAXONOMY)
    assert others.startswith("The trained model is worse in: Binary, balanced")
    assert blind.endswith("give something away: Binary, balanced 0.600.")
    del understanding["paired"]["after - before"][naming]
    others, _ = verdict({"understanding": understanding, "generation": NOTHING}, TAXONOMY)
    assert others.startswith("The trained model is worse in:"), "without multiple choice the first line says what is"


def test_a_model_by_itself_stands_beside_the_probe():
    naming = "multiple_forced_balanced_accuracy"
    understanding = {
        "about": {"models": {"mine": "path/to/mine"}},
        "figures": {"mine": {naming: figure(0.84)}},
        "paired": {"mine - clip_linear_probe": {naming: figure(0.01)}},
    }
    assert verdict({"understanding": understanding, "generation": NOTHING}, TAXONOMY) == [
        "mine names the right one of 8 emotions for 0.840 of the images. It is right no more often than a linear probe of"
        " CLIP, the simplest baseline (+0.010, -0.010 to 0.030)."
    ]


def test_a_generator_stands_beside_the_prompt_and_real_images():
    figures = {
        row: {"corrected": {"emotion_accuracy": figure(value)}} for row, value in (("ours", 0.9), ("prompt_only", 0.2))
    }
    generation = {
        "about": {},
        "figures": figures,
        "paired": {"ours - attribute_prompt": {"joint_accuracy": figure(0.01)}},
    }
    seen, joint = verdict({"understanding": NOTHING, "generation": generation}, TAXONOMY)
    assert seen == (
        "The judge sees the intended emotion in 0.900 (0.880 to 0.920) of the generated images, in 0.200 of those that"
        " plain Stable Diffusion makes of the emotion's name."
    )
    assert "both right no more often than with the prompt of the same contents (+0.010, -0.010 to 0.030)" in joint
    assert verdict({"understanding": NOTHING, "generation": NOTHING}, TAXONOMY) == []
