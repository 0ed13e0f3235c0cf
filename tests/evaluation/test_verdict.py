"""The verdict on a run, from figures made by hand."""

from config.taxonomy import DEFAULT, read_taxonomy
from evaluation.verdict import verdict

TAXONOMY = read_taxonomy(DEFAULT)
NOTHING = {"about": {}, "figures": {}}


def figure(value: float, half: float = 0.02) -> dict:
    return {"value": value, "low": value - half, "high": value + half, "n": 200}


def test_it_says_what_is_better_what_is_not_and_against_which_baseline():
    after = {"multiple_balanced_accuracy": figure(0.84), "binary_balanced_accuracy": figure(0.66)}
    understanding = {
        "about": {"models": {"before": "a", "after": "b"}},
        "figures": {"before": {}, "after": after, "blind": {"binary_balanced_accuracy": figure(0.5)}},
        "paired": {
            "after - before": {"multiple_balanced_accuracy": figure(0.44), "binary_balanced_accuracy": figure(0.01)},
            "after - clip_linear_probe": {"multiple_forced_balanced_accuracy": figure(-0.05)},
        },
    }
    better, same, probe, blind = verdict({"understanding": understanding, "generation": NOTHING}, TAXONOMY)
    assert better.endswith("is better than before training in: Multiple choice, balanced 0.840 (+0.440, 0.420 to 0.460).")
    assert same.endswith("shows no difference from before training in: Binary, balanced 0.660 (+0.010, -0.010 to 0.030).")
    assert probe.startswith("It names emotions worse than a linear probe of CLIP")
    assert "no better than chance" in blind
    understanding["figures"]["blind"]["binary_balanced_accuracy"] = figure(0.6)
    assert "give something away: Binary, balanced 0.600" in verdict(
        {"understanding": understanding, "generation": NOTHING}, TAXONOMY
    )[-1]  # fmt: skip


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
        "The judge sees the intended emotion in 0.900 (0.880 to 0.920) of the generated images, in 0.200 of plain Stable"
        " Diffusion's by the emotion's name."
    )
    assert "both right no more often than with the prompt of the same contents (+0.010, -0.010 to 0.030)" in joint
    assert verdict({"understanding": NOTHING, "generation": NOTHING}, TAXONOMY) == []
