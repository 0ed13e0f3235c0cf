"""Where the page is served, and who needs a password there."""

import socket
from urllib.request import urlopen

import pytest

gr = pytest.importorskip("gradio", reason="no gradio here; pip install -e .[app]")

from app import main as app_main
from config.app_settings import App
from config.errors import UserError


def has_ipv6() -> bool:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


IPV6 = pytest.mark.skipif(not has_ipv6(), reason="no IPv6 here")


@pytest.mark.parametrize("address", ["127.0.0.1", "localhost", pytest.param("::1", marks=IPV6)])
def test_this_machine_needs_no_password(address):
    assert app_main.check_address(App(address=address), None) is None


@pytest.mark.parametrize("address", ["0.0.0.0", "::", "example.org", "192.168.1.2"])
def test_others_need_a_password(address):
    with pytest.raises(UserError, match="EMOTION_APP_PASSWORD"):
        app_main.check_address(App(address=address), None)
    with pytest.raises(UserError, match="EMOTION_APP_PASSWORD"):
        app_main.check_address(App(address=address), "")


def test_an_address_must_be_of_this_machine():
    app_main.check_address(App(address="0.0.0.0"), "secret")
    for address in ("192.0.2.1", "999.1.2.3", "nowhere.invalid", "a..b", "a" * 64):  # the first is nobody's
        with pytest.raises(UserError, match=f"^app.address: this machine has no address {address}"):
            app_main.check_address(App(address=address), "secret")


def test_a_port_that_is_taken_is_one_line(models):
    with socket.create_server(("127.0.0.1", 0)) as taken, gr.Blocks() as page:
        port = taken.getsockname()[1]
        with pytest.raises(UserError, match=f"^app.port: {port} is taken or not allowed; name another$"):
            app_main.serve(page, models, App(port=port), None)


@IPV6
def test_the_page_has_an_address_that_a_browser_takes(models):
    with gr.Blocks() as page:
        pass
    url = app_main.serve(page, models, App(address="::1"), None)
    try:
        assert urlopen(url).status == 200
    finally:
        page.close(verbose=False)
