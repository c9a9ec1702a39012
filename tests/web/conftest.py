"""Texts that would run a script, break out of an attribute, or end a frame, wherever they were not escaped."""

from __future__ import annotations

import pytest

HOSTILE = [
    "<img src=x onerror=window.pwned=1>",
    '"><svg/onload=window.pwned=1>',
    "'><script>window.pwned=1</script>",
    "</script><script>window.pwned=1</script>",
    "</title></style></textarea><b onclick=window.pwned=1>x",
    "javascript:window.pwned=1",
    '" data-on-click="window.pwned=1" x="',
    "{{7*7}} ${7*7} <%= 7*7 %>",
    "]]><!--<!DOCTYPE x [<!ENTITY e SYSTEM 'file:///etc/passwd'>]>&e;",
    "&lt;b&gt; &#60;script&#62; &amp;",
    "one\ntwo\rthree\r\ndata: four\n\nevent: five\u2028six\x85seven\x0ceight",
    "\0\x08\x1b[31m\ufffe\u202eevil\u202c",
]


@pytest.fixture(params=HOSTILE, ids=lambda text: ascii(text)[:24])
def hostile(request: pytest.FixtureRequest) -> str:
    return str(request.param)
