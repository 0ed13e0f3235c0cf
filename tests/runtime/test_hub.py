import diffusers
import pytest
import transformers
from huggingface_hub.utils import are_progress_bars_disabled
from transformers import CLIPModel

from config.errors import UserError
from runtime import hub
from runtime.hub import hide_loading


def test_a_download_shows_its_bar_and_loading_does_not():
    hide_loading(transformers, diffusers)
    assert not transformers.utils.logging.is_progress_bar_enabled()
    assert not diffusers.utils.logging.is_progress_bar_enabled()
    assert not are_progress_bars_disabled()


def test_a_hub_that_cannot_be_reached_is_asked_once(monkeypatch):
    asked = []

    class Session:
        def head(self, url, timeout):
            asked.append(url)
            raise OSError("Name or service not known")

    monkeypatch.setattr(hub, "get_session", Session)
    monkeypatch.setattr(hub.constants, "HF_HUB_OFFLINE", False)
    hub.hub_obstacle.cache_clear()
    for name in ("org/one", "org/two"):
        message = rf"^models\.clip: '{name}' .*the Hub cannot be reached \(.*Name or service not known\)"
        with pytest.raises(UserError, match=message):
            hub.load_model(CLIPModel, name, "models.clip")
    assert len(asked) == 1
    hub.hub_obstacle.cache_clear()
