"""The harness itself: its checks can fail."""

import pytest

from harness.browser import changed, share_of
from harness.pictures import assert_colour, decode, psnr
from harness.schemas import assert_valid
from harness.upstream import encoded


@pytest.mark.parametrize(
    "body, rules",
    [
        (b'<WMT_MS_Capabilities version="1.1.1"><Service/></WMT_MS_Capabilities>', "wms/1.1.1/WMS_MS_Capabilities.dtd"),
        (
            b'<WMS_Capabilities xmlns="http://www.opengis.net/wms" version="1.3.0"/>',
            "wms/1.3.0/capabilities_1_3_0.xsd",
        ),
        (
            b'<Capabilities xmlns="http://www.opengis.net/wmts/1.0"/>',
            "wmts/1.0/wmtsGetCapabilities_response.xsd",
        ),
        (
            b'<ExceptionReport xmlns="http://www.opengis.net/ows/1.1" version="1.0.0"/>',
            "ows/1.1.0/owsExceptionReport.xsd",
        ),
    ],
)
def test_a_wrong_document_is_not_valid(body, rules):
    with pytest.raises(AssertionError, match="not valid"):
        assert_valid(body, rules)


def test_pictures_are_told_apart():
    red, blue = decode(encoded((200, 0, 0), 64, 64)), decode(encoded((0, 0, 200), 64, 64))
    assert psnr(red, red) > 1000 and psnr(red, blue) < 10
    assert changed(red, red) == 0 and changed(red, blue) > 0.9
    assert share_of(red, (200, 0, 0)) > 0.9 and share_of(blue, (200, 0, 0)) == 0
    with pytest.raises(AssertionError):
        assert_colour(red, (0.9, 0.9), (0, 0, 200))
    with pytest.raises(AssertionError, match="not a picture"):
        decode(b"<html/>")
