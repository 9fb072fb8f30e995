"""Where servers send a client: an address of http or https, or one line of refusal."""

import httpx
from hypothesis import given
from hypothesis import strategies as st

from kernel_sandbox.errors import SandboxError
from kernel_sandbox.registry.patience import Patience
from kernel_sandbox.registry.settings import Settings
from kernel_sandbox.registry.transport import Transport, netloc

TRANSPORT = Transport(Settings.open({"HOME": "/nonexistent"}), Patience())
_places = st.one_of(
    st.text(max_size=40),
    st.text("/[]@%?#:.x\\", max_size=20),
    st.text("/[]@%?#.\\:x1é\x00 。", max_size=30).map("http://".__add__),
    st.from_regex(r"https?://[\[\]a-z0-9:@%.]{0,20}(/.*)?"),
)


@given(_places, st.sampled_from(["https://registry.example:5/v2/", "http://127.0.0.1:5/a"]))
def test_a_place_is_an_address_or_refused(place: str, base: str) -> None:
    try:
        url = TRANSPORT.resolve(httpx.URL(base), place)
    except SandboxError as error:
        assert "\n" not in str(error)
        return
    assert url.scheme == "https" or (url.scheme == "http" and base.startswith("http://"))
    assert url.host
    assert not url.userinfo
    assert netloc(httpx.Request("GET", url).url)
