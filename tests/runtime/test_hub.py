import diffusers
import transformers
from huggingface_hub.utils import are_progress_bars_disabled

from runtime.hub import hide_loading


def test_a_download_shows_its_bar_and_loading_does_not():
    hide_loading(transformers, diffusers)
    assert not transformers.utils.logging.is_progress_bar_enabled()
    assert not diffusers.utils.logging.is_progress_bar_enabled()
    assert not are_progress_bars_disabled()
