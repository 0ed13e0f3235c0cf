"""Whether reward, gate and judge are three networks, told apart by their tensors (network_digest)."""

from pathlib import Path

from config.errors import UserError
from config.settings import Settings
from evaluation.judge import check_file, judge_digests, reads_clip
from loop.scores import networks_in_use
from runtime.hub import network_digest
from training.generator_parts import GENERATOR, read_about


def check_apart(settings: Settings, generator: Path) -> None:
    """Raise UserError unless the judge of the loop is a network that reward, gate and all training have never seen.

    generator: the folder of the one that the loop starts from, which says what it was trained with.
    """
    judge, used = settings.loop.judge, networks_in_use(settings)
    if used.get("the loop's reward") == used["the loop's gate"]:
        raise UserError(
            "loop.reward: reward and gate are the same network; train one of them, for a gate must be able to doubt"
        )
    if not judge:
        raise UserError(
            "loop.judge: name a classifier of the emotions that shares no weights with reward, gate and training; it "
            "alone can tell what the loop is worth"
        )
    check_file(judge, "loop.judge")
    own = judge_digests(judge) | ({network_digest(settings.models.clip)} if reads_clip(judge) else set())
    for what, digest in seen_by(settings, generator).items():
        if digest in own:
            raise UserError(f"loop.judge: {judge} shares its weights with {what}; name one that nothing was trained by")


def seen_by(settings: Settings, generator: Path) -> dict[str, str]:
    """Return digests of all networks that a generator was trained by, or will be in the next rounds, by what they are."""
    now, before = networks_in_use(settings), read_about(generator / GENERATOR).get("trained_with") or {}
    others = {what: digest for what, digest in before.items() if now.get(what) != digest}
    return now | {f"{what}, before ({digest})" if what in now else what: digest for what, digest in others.items()}
