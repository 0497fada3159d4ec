"""The OGC's schemas and DTDs, as the Python package MapProxy carries them; nothing is fetched."""

import functools
import importlib.util
import urllib.parse
from pathlib import Path

from lxml import etree

# Where a schema on the web lies in the package.
_FOLDERS = {
    "wms/1.1.1": "wms/1.1.1",
    "wms/1.3.0": "wms/1.3.0",
    "wmts/1.0": "wmts/1.0",
    "ows/1.1.0": "ows/1.1.0",
    "gml/3.1.1": "gml/3.1.1",
    "sld/1.1.0": "sld/1.1.0",
    "xlink/1.0.0": "xlink/1.0.0",
    "xlink.xsd": "xlink/1.0.0/xlinks.xsd",
    "xml.xsd": "xml.xsd",
}


def _schemas():
    folder = Path(importlib.util.find_spec("mapproxy").submodule_search_locations[0]) / "test" / "schemas"
    assert folder.is_dir(), f"{folder} is missing: run tests/e2e/setup"
    return folder


class _Local(etree.Resolver):
    """Leads schema locations on the web to the package; anything unknown is an error, never a download."""

    def resolve(self, url, identifier, context):
        if urllib.parse.urlsplit(url).scheme not in ("http", "https"):
            return None
        for part, folder in _FOLDERS.items():
            if part in url:
                rest = url.split(part, 1)[1].lstrip("/")
                path = _schemas() / folder
                return self.resolve_filename(str(path / rest if rest else path), context)
        raise AssertionError(f"no local copy of {url}")


def _parser(**options):
    parser = etree.XMLParser(no_network=True, **options)
    parser.resolvers.add(_Local())
    return parser


@functools.cache
def _schema(path):
    return etree.XMLSchema(etree.parse(str(_schemas() / path), _parser()))


@functools.cache
def _dtd(path):
    return etree.DTD(str(_schemas() / path))


def assert_valid_by_doctype(body):
    """The document keeps to the DTD it names, with what it declares besides."""
    try:
        return etree.fromstring(body, _parser(load_dtd=True, dtd_validation=True))
    except etree.XMLSyntaxError as error:
        raise AssertionError(f"not valid by its own doctype:\n{error}\n{body.decode()[:4000]}") from error


def assert_valid(body, path):
    """The document keeps to the schema or DTD of that path in the package."""
    root = etree.fromstring(body, etree.XMLParser(no_network=True, load_dtd=False))
    rules = _dtd(path) if path.endswith(".dtd") else _schema(path)
    if not rules.validate(root):
        errors = "\n".join(f"line {error.line}: {error.message}" for error in rules.error_log)
        raise AssertionError(f"not valid by {path}:\n{errors}\n{body.decode()[:4000]}")
    return root
