"""Caches in S3 and Azure Blob Storage, on moto's and Microsoft's servers, shared with MapProxy 7.0.0; and their faults."""

import time

import pytest

from harness.objects import ACCOUNT_KEY, KEY, SECRET, Azurite, Moto

CONFIG = """\
services: {{wmts: {{}}, tms: {{}}}}
layers: [{{name: roads, title: Roads, sources: [roads]}}]
caches:
  roads:
    grids: [GLOBAL_WEBMERCATOR]
    sources: [upstream]
    format: {format}
    meta_size: [2, 2]
    meta_buffer: 0
    cache: {{{options}}}
sources:
  upstream: {{type: wms, req: {{url: '{url}/wms', layers: any}}}}
globals:
  cache: {{base_dir: cache}}
  http: {{client_timeout: 2}}
"""

TILES = ["2/1/1", "5/17/11"]


@pytest.fixture(autouse=True)
def credentials(monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


@pytest.fixture(params=[Moto, Azurite], ids=["s3", "azure"])
def store(request, folder):
    server = request.param(folder / "store.log")
    try:
        yield server.start()
    finally:
        server.stop()


def config(store, upstream, more="", format="image/png"):
    return CONFIG.format(options=store.options() + more, url=upstream.url, format=format)


def path(tile, extension="png"):
    return f"/wmts/roads/GLOBAL_WEBMERCATOR/{tile}.{extension}"


def test_tiles_are_shared_with_the_original(serve, serve_original, upstream, store):
    store.make()
    ours = serve(config(store, upstream, ", directory: /maps/roads", format="image/jpeg"))
    theirs = serve_original()
    stored = {tile: server.get(path(tile, "jpeg")) for tile, server in zip(TILES, [ours, theirs])}
    assert {answer.status for answer in stored.values()} == {200}, stored
    objects, asked = store.objects(), len(upstream.requests)
    assert len(objects) == 8 and all(f"maps/roads/{tile}.jpeg" in objects for tile in TILES), objects
    assert set(objects.values()) == {"image/jpeg"}
    for server in ours, theirs:
        again = {tile: server.get(path(tile, "jpeg")).body for tile in TILES}
        assert again == {tile: answer.body for tile, answer in stored.items()}
    assert len(upstream.requests) == asked and store.objects() == objects


@pytest.mark.parametrize("store", [Moto], ids=["s3"], indirect=True)
def test_faults_of_a_store_are_told_and_pass(serve, upstream, store):
    store.make()
    server = serve(config(store, upstream))
    answer = server.get(path("2/1/1"))
    assert answer.status == 200
    asked = len(upstream.requests)
    # Silent: after one time-out, nobody waits for it in vain.
    store.pause()
    assert server.get(path("2/1/1")).status == 500
    begun = time.monotonic()
    assert [server.get(path("2/1/1")).status for _ in range(5)] == [500] * 5
    assert time.monotonic() - begun < 1, "a store that does not answer is left alone for a while"
    assert len(upstream.requests) == asked, "its tiles are not asked of the source"
    store.resume()
    time.sleep(1.1)
    assert server.get(path("2/1/1")).body == answer.body
    # Gone, then back, and empty: the container is missing.
    store.stop()
    assert server.get(path("2/1/1")).status == 500
    store.start()
    time.sleep(1.1)
    assert server.get(path("2/1/1")).status == 500
    store.make()
    assert server.get(path("2/1/1")).status == 200
    assert len(upstream.requests) == asked + 1
    for secret in (SECRET, ACCOUNT_KEY, "Signature"):
        assert secret not in server.log, server.log
    assert "NoSuchBucket" in server.log or "ContainerNotFound" in server.log, server.log


def test_a_bucket_that_is_not_there_is_told_at_start(serve, upstream, folder):
    with_moto = Moto(folder / "store.log").start()
    try:
        with pytest.raises(AssertionError, match="No such bucket: tiles"):
            serve(config(with_moto, upstream))
    finally:
        with_moto.stop()
    # Nobody there: serving begins all the same.
    server = serve()
    assert "does not answer now" in server.log, server.log
    assert server.get("/tms/1.0.0").status == 200


def test_objects_get_the_rights_configured_and_public_ones_need_no_credentials(serve, upstream, folder, monkeypatch):
    moto = Moto(folder / "store.log").start()
    try:
        moto.make()
        public = ", access_control_list: public-read, use_http_get: true, include_grid_name: true, directory: maps"
        text = config(moto, upstream, public)
        answer = serve(text).get(path("2/1/1"))
        grants = moto.client().get_object_acl(Bucket="tiles", Key="maps/GLOBAL_WEBMERCATOR/2/1/1.png")["Grants"]
        assert any("AllUsers" in grant["Grantee"].get("URI", "") for grant in grants), grants
        monkeypatch.delenv("AWS_ACCESS_KEY_ID")
        asked = len(upstream.requests)
        server = serve()
        assert server.get(path("2/1/1")).body == answer.body
        assert len(upstream.requests) == asked
        # A tile that cannot be kept is served.
        assert server.get(path("5/17/11")).status == 200
        assert "served but not kept" in server.log, server.log
    finally:
        moto.stop()
