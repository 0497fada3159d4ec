"""The deployment guide, followed line by line, chapter after chapter, with the real web servers."""

import re
import subprocess

import pytest

from harness import front, guide
from harness.machine import Machine, stop

# Which test follows which blocks: (chapter, section) -> test. The first test below holds it against the guide.
FOLLOWED = {}

pytestmark = pytest.mark.differs("it is the guide of another program")


def follows(*places):
    """Marks a test as following these parts of the guide: 'chapter' or 'chapter#section'."""

    def mark(test):
        for place in places:
            chapter, _, section = place.partition("#")
            FOLLOWED.setdefault((chapter, section or None), test.__name__)
        return test

    return mark


def test_every_block_of_the_guide_is_followed_and_of_a_known_kind():
    followed = {
        str(block) for chapter, section in FOLLOWED for block in guide.blocks(chapter, section)
    }
    blocks = [block for chapter in guide.chapters() for block in guide.blocks(chapter)]
    unknown = [f"{block} ({block.kind or 'without a kind'})" for block in blocks if block.kind not in guide.KINDS]
    assert not unknown, f"kinds nobody knows how to run: {unknown}"
    missed = [str(block) for block in blocks if str(block) not in followed]
    assert not missed, f"blocks that no test follows: {missed}"
    assert len(blocks) > 25


@pytest.fixture
def machine(command, folder, upstream):
    with Machine(command, folder, upstream) as machine:
        yield machine


@pytest.fixture
def production(machine):
    """The program and its configuration are there."""
    machine.follow("production", "The program")
    return machine


@pytest.fixture
def service(production):
    """MapProxy runs under systemd and speaks HTTP."""
    production.follow("systemd", "")
    return production


@pytest.fixture
def fastcgi_service(service):
    service.follow("systemd", "FastCGI")
    return service


@follows("testing")
def test_testing(machine):
    machine.follow("testing")
    log = machine.path("/srv/maps/log").read_text()
    assert "Running on http://127.0.0.1:" in log, log


@follows("production#The program", "production#By hand")
def test_production(production):
    production.follow("production", "By hand")
    log = production.path("/var/log/mapproxy.log").read_text()
    assert "listening on" in log and "stopped" in log, log


@follows("systemd#")
def test_systemd(service):
    assert service.units.process().poll() is None, service.logs()


@follows("nginx#Over HTTP", "nginx#With TLS")
def test_nginx_over_http(service):
    service.follow("nginx", "Over HTTP")
    front.check(service)
    service.follow("nginx", "With TLS")
    front.check(service, port=443, public="https://maps.example.org", tls=True)
    front.check(service)


@follows("nginx#Over FastCGI", "systemd#FastCGI")
def test_nginx_over_fastcgi(fastcgi_service):
    fastcgi_service.follow("nginx", "Over FastCGI")
    front.check(fastcgi_service)


@follows("apache#Over HTTP")
def test_apache_over_http(service):
    service.follow("apache", "Over HTTP")
    front.check(service)


@follows("apache#Over FastCGI")
def test_apache_over_fastcgi(fastcgi_service):
    fastcgi_service.follow("apache", "Over FastCGI")
    front.check(fastcgi_service)


@follows("apache#As a program that Apache starts")
def test_apache_with_mod_fcgid(production):
    production.follow("apache", "As a program that Apache starts")
    front.check(production)


@follows("lighttpd#Over HTTP")
def test_lighttpd_over_http(service):
    service.follow("lighttpd", "Over HTTP")
    front.check(service)


@follows("lighttpd#Over FastCGI")
def test_lighttpd_over_fastcgi(fastcgi_service):
    fastcgi_service.follow("lighttpd", "Over FastCGI")
    front.check(fastcgi_service)


@follows("varnish")
def test_varnish(service):
    service.follow("varnish")
    front.check(service, port=6081)
    front.check(service, port=6081, forged={**front.FORGED, "X-Forwarded-Proto": "http"})
    # From the program that ends TLS, which is on this machine.
    answer = service.ask("/maps/wmts/1.0.0/WMTSCapabilities.xml", 6081, headers={"X-Forwarded-Proto": "https"})
    assert "https://maps.example.org/maps/" in answer.text and "http://maps.example.org/maps/" not in answer.text
    # The second time a tile comes from Varnish's memory.
    path = "/maps" + front.TILE.format(z=5, x=1, y=1)
    first, second = (service.ask(path, 6081) for _ in range(2))
    assert first.body == second.body and len(second.headers["X-Varnish"].split()) == 2, second.headers


@follows("deployment-file")
def test_deployment_file(machine):
    machine.follow("deployment-file")


@follows("many-configurations")
def test_many_configurations(machine):
    machine.follow("many-configurations")


@follows("logging")
def test_logging(machine):
    machine.follow("logging")
    log = machine.path("/var/log/mapproxy/mapproxy.log.1").read_text()
    assert "mapproxy.config" in log, log


@follows("embedding")
def test_embedding(machine):
    """The programs that it shows are built and run by tests of their own."""
    machine.follow("embedding")


@follows("README", "performance")
def test_chapters_without_blocks():
    assert guide.blocks("README") == guide.blocks("performance") == []


@pytest.mark.parametrize(
    "template, chapter, section, options",
    [
        ("nginx", "nginx", "Over HTTP", []),
        ("nginx", "nginx", "Over FastCGI", ["--fastcgi"]),
        ("apache", "apache", "Over HTTP", []),
        ("apache", "apache", "Over FastCGI", ["--fastcgi"]),
        ("lighttpd", "lighttpd", "Over HTTP", []),
        ("lighttpd", "lighttpd", "Over FastCGI", ["--fastcgi"]),
        ("varnish", "varnish", None, []),
        ("systemd", "systemd", "", []),
    ],
)
def test_templates_say_what_the_guide_says(command, folder, template, chapter, section, options):
    (folder / "mapproxy.yaml").write_text("globals: {cache: {base_dir: /var/cache/mapproxy, lock_dir: /var/cache/mapproxy/locks}}\nservices: {wms: {}}\n"
                                          "layers: [{name: x, title: X, sources: [x]}]\nsources: {x: {type: debug}}\n")
    prefix = [] if template == "systemd" else ["--prefix", "/maps"]
    subprocess.run(
        [*command, "create", "-t", template, "-f", folder / "mapproxy.yaml", "--address", "unix:/run/mapproxy/mapproxy.sock",
         *prefix, *options, folder / "created"],
        check=True, capture_output=True,
    )
    created = sorted((folder / "created").iterdir()) if (folder / "created").is_dir() else [folder / "created"]
    told = sorted((block for block in guide.blocks(chapter, section) if block.kind in guide.FILES), key=lambda block: block.path)
    assert len(created) == len(told)
    for file, block in zip(created, told):
        assert _rules(file.read_text(), folder) == _rules(block.text, folder), f"{block} and the template {template}"


def _rules(text, folder):
    """Without comments and empty lines, and with the guide's paths."""
    text = re.sub(r"^ExecStart=.*$", lambda match: re.sub(r"=\S+", "=mapproxy-util", match[0], count=1), text, flags=re.M)
    text = text.replace(f"{folder.resolve()}/mapproxy.yaml", "/etc/mapproxy/mapproxy.yaml")
    return [line.strip() for line in text.splitlines() if line.strip() and not line.strip().startswith("#")]


@pytest.mark.parametrize(
    "template, file, commands, fastcgi, port",
    [
        ("nginx", "/etc/nginx/conf.d/mapproxy.conf", "systemctl start nginx", False, 80),
        ("nginx", "/etc/nginx/conf.d/mapproxy.conf", "systemctl start nginx", True, 80),
        ("apache", "/etc/apache2/conf-available/mapproxy.conf",
         "a2enmod proxy proxy_http headers\na2enconf mapproxy\nsystemctl start apache2", False, 80),
        ("apache", "/etc/apache2/conf-available/mapproxy.conf",
         "a2enmod proxy proxy_fcgi headers\na2enconf mapproxy\nsystemctl start apache2", True, 80),
        ("lighttpd", "/etc/lighttpd/conf-available/50-mapproxy.conf",
         "lighttpd-enable-mod mapproxy\nsystemctl start lighttpd", False, 80),
        ("lighttpd", "/etc/lighttpd/conf-available/50-mapproxy.conf",
         "lighttpd-enable-mod mapproxy\nsystemctl start lighttpd", True, 80),
        ("varnish", "/etc/varnish/default.vcl", "systemctl start varnish", False, 6081),
    ],
)
def test_templates_for_a_port_and_no_prefix(production, template, file, commands, fastcgi, port):
    options = "--fastcgi" if fastcgi else ""
    # nginx's own site has the root of its address; ours has a name of its own.
    production.shell(
        f"mapproxy-util create --force -t {template} {options} -f /etc/mapproxy/mapproxy.yaml --address 127.0.0.1:8080 created"
    )
    path = production.path(file)
    path.write_text(production.mapped((production.root / "home/created").read_text()))
    backend = production.spawn(
        "mapproxy", [production.path("/usr/local/bin/mapproxy-util"), "serve", *options.split(), "-b",
                     production.mapped("127.0.0.1:8080"), production.path("/etc/mapproxy/mapproxy.yaml")]
    )
    try:
        production.listening(8080, backend, "mapproxy")
        production.shell(commands)
        front.check(production, port=port, prefix="")
    finally:
        stop(backend)
