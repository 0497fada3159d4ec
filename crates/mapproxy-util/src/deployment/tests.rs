//! What deployment files mean, compared with what Paste Deploy 3.1 and its servers make of the same sections.

use std::path::Path;

use super::{Cors, Deployment, Mount, Part};
use crate::address::Bind;
use crate::server_options::ServerOptions;

fn read(text: &str) -> Result<Deployment, String> {
    Deployment::of_text(text, Path::new("/etc/mapproxy/config.ini")).map_err(|error| error.to_string())
}

fn app(text: &str) -> Part {
    read(text).unwrap().app
}

fn configuration(path: &str) -> Part {
    Part::Configuration(path.into())
}

fn prefix(prefix: &str, https: Option<bool>, app: Part) -> Part {
    Part::Prefix { prefix: prefix.to_owned(), https, app: Box::new(app) }
}

const A: &str = "[app:a]\nuse = egg:MapProxy#app\nmapproxy_conf = a.yaml\n";
const B: &str = "[app:b]\nuse = mapproxy#app\nmapproxy_conf = b.yaml\n";

#[test]
fn applications_have_their_own_names_and_those_of_eggs() {
    for name in ["egg:MapProxy#app", "mapproxy#app"] {
        let text = format!("[app:main]\nuse = {name}\nmapproxy_conf = %(here)s/mapproxy.yaml\n");
        assert_eq!(app(&text), configuration("/etc/mapproxy/mapproxy.yaml"));
    }
    let directory = |allow_listing| Part::Directory { directory: "/projects".into(), allow_listing };
    for using in
        ["use = egg:MapProxy#multiapp", "use = mapproxy#multiapp", "paste.app_factory = mapproxy.multiapp:app_factory"]
    {
        assert_eq!(app(&format!("[app:main]\n{using}\nconfig_dir = /projects\n")), directory(false));
        let text = format!("[application:main]\n{using}\nconfig_dir = /projects\nallow_listing = true\n");
        assert_eq!(app(&text), directory(true));
    }
}

#[test]
fn a_section_may_use_another_and_change_its_settings() {
    let text = "[DEFAULT]\nbase = /maps\n[app:main]\nuse = other\nget mapproxy_conf = base\nset debug = true\n\
                [app:other]\nuse = egg:MapProxy#app\nmapproxy_conf = b\n";
    assert_eq!(app(text), configuration("/maps"));
    let text = format!("[app:main]\nuse = p\n[pipeline:p]\npipeline = a\n{A}");
    assert_eq!(app(&text), configuration("a.yaml"));
}

#[test]
fn url_maps_take_paths_and_hosts() {
    let text = format!(
        "[composite:main]\nuse = egg:Paste#urlmap\n/ = a\n/x/ = b\n/x/y = a\ndomain maps.example.org = b\n\
         domain maps.example.org /q = a\n{A}{B}"
    );
    let mount = |host: Option<&str>, path: &str, name: &str| Mount {
        host: host.map(str::to_owned),
        path: path.to_owned(),
        app: configuration(name),
    };
    assert_eq!(
        app(&text),
        Part::UrlMap(vec![
            mount(None, "/", "a.yaml"),
            mount(None, "/x", "b.yaml"),
            mount(None, "/x/y", "a.yaml"),
            mount(Some("maps.example.org"), "/", "b.yaml"),
            mount(Some("maps.example.org"), "/q", "a.yaml"),
        ])
    );
    let text = format!("[composit:main]\nuse = egg:Paste#urlmap\n/x = a\nnot_found_app = b\n{A}{B}");
    assert_eq!(app(&text), Part::UrlMap(vec![mount(None, "/x", "a.yaml"), mount(None, "/", "b.yaml")]));
}

#[test]
fn filters_stand_in_pipelines_before_an_application_or_with_it() {
    let filters = "[filter:f1]\nuse = egg:PasteDeploy#prefix\nprefix = /one\nscheme = https\n\
                   [filter:f2]\nuse = mapproxy#prefix\nprefix = /two\n";
    let one = |app| prefix("/one", Some(true), app);
    let two = |app| prefix("/two", None, app);
    let a = || configuration("a.yaml");
    for (text, expected) in [
        ("[pipeline:main]\npipeline = f1 f2\n  a\n", one(two(a()))),
        ("[pipeline:main]\npipeline = a\n", a()),
        ("[pipeline:main]\npipeline = egg:PasteDeploy#prefix a\n", prefix("", None, a())),
        ("[filter-app:main]\nuse = f1\nprefix = /three\nnext = a\n", prefix("/three", Some(true), a())),
        ("[filter-app:main]\nuse = mapproxy#prefix\nprefix = /x\nnext = a\n", prefix("/x", None, a())),
        ("[app:main]\nuse = a\nfilter-with = f2\n", two(a())),
        ("[app:main]\nuse = a\nfilter-with = f3\n[filter:f3]\nuse = f2\nfilter-with = f1\n", one(two(a()))),
        ("[composite:main]\nuse = egg:Paste#urlmap\nfilter-with = f2\n/m = a\n", {
            two(Part::UrlMap(vec![Mount { host: None, path: "/m".to_owned(), app: a() }]))
        }),
    ] {
        assert_eq!(app(&format!("{text}{filters}{A}")), expected, "{text}");
    }
    let text = format!(
        "[pipeline:main]\npipeline = open guard a\n[filter:open]\nuse = mapproxy#cors\n\
         allow_origin = https://a.example, https://b.example\nmax_age = 60\n[filter:guard]\nuse = mapproxy#basic-auth\n\
         htpasswd = %(here)s/users\nrealm = Our maps\n{A}"
    );
    let guarded = Part::BasicAuth {
        realm: "Our maps".to_owned(),
        htpasswd: "/etc/mapproxy/users".into(),
        app: Box::new(configuration("a.yaml")),
    };
    let cors = Cors {
        origins: vec!["https://a.example".to_owned(), "https://b.example".to_owned()],
        max_age: Some(60),
        ..Cors::default()
    };
    assert_eq!(app(&text), Part::Cors { cors, app: Box::new(guarded) });
}

#[test]
fn other_files_are_read_with_their_own_folder_and_our_defaults() {
    let dir = tempfile::tempdir().unwrap();
    let here = dir.path().to_str().unwrap();
    std::fs::write(
        dir.path().join("other.ini"),
        "[app:z]\nuse = mapproxy#app\nmapproxy_conf = %(here)s/%(name)s.yaml\n[app:main]\nuse = z\n",
    )
    .unwrap();
    for (reference, expected) in [("config:other.ini#z", "ours.yaml"), ("config:other.ini", "ours.yaml")] {
        let text = format!("[DEFAULT]\nname = ours\n[app:main]\nuse = {reference}\n");
        let deployment = Deployment::of_text(&text, &dir.path().join("config.ini")).unwrap();
        assert_eq!(deployment.app, configuration(&format!("{here}/{expected}")));
        assert_eq!(deployment.files.len(), 2, "changes of both files count");
    }
    let text = "[app:main]\nuse = config:none.ini\n";
    let error = Deployment::of_text(text, &dir.path().join("config.ini")).unwrap_err().to_string();
    assert!(error.contains("config.ini:2: ") && error.contains("none.ini: cannot be read"), "{error}");
}

#[test]
fn mistakes_are_told_with_file_and_line() {
    for (text, expected) in [
        ("[app:main]\nuse = egg:MapProxy#app\n", "2: egg:MapProxy#app needs mapproxy_conf ="),
        (
            "[app:main]\nuse = egg:MapProxy#app\nmapproxy_conf = a\nreload = 1\n",
            "4: reload means nothing for egg:MapProxy#app",
        ),
        (
            "[app:main]\nuse = egg:Other#app\n",
            "2: use = egg:Other#app: there is no such application; there are egg:MapProxy#app",
        ),
        ("[app:main]\npaste.app_factory = mine:factory\n", "2: paste.app_factory = mine:factory: there is no such"),
        ("[app:main]\nmapproxy_conf = a\n", "1: [app:main] needs use ="),
        ("[app:main]\nuse = main\n", "2: sections refer to each other in a circle"),
        ("[pipeline:main]\npipeline = main\n", "sections refer to each other in a circle"),
        ("[pipeline:main]\npipeline =\n", "2: pipeline needs at least"),
        ("[pipeline:main]\nx = 1\n", "1: [pipeline:main] needs pipeline ="),
        ("[filter-app:main]\nuse = mapproxy#prefix\n", "1: [filter-app:main] needs next ="),
        ("[composite:main]\nuse = egg:Paste#urlmap\n/ = nope\n", "3: there is no [app:nope] or "),
        ("[composite:main]\nuse = egg:Paste#urlmap\nfoo = a\n", "3: \"foo\" is no place of a URL map"),
        ("[composite:main]\nuse = egg:Paste#urlmap\nhttp://h/x = a\n", "3: \"http\" is no place of a URL map"),
        ("[composite:main]\nuse = egg:Paste#urlmap\ndomain x port 80 /y = a\n", "3: a port cannot"),
        ("[composite:main]\nuse = egg:Paste#urlmap\n", "2: a URL map needs lines"),
        ("[app:main]\nuse = a\nfilter-with = f\n", "3: there is no [filter:f]"),
        (
            "[app:main]\nuse = a\nfilter-with = f\n[filter:f]\nuse = egg:Paste#gzip\n",
            "5: use = egg:Paste#gzip: there is no such filter; there are egg:PasteDeploy#prefix",
        ),
        (
            "[app:main]\nuse = a\nfilter-with = f\n[filter:f]\nuse = mapproxy#cors\norigin = x\n",
            "6: origin means nothing for mapproxy#cors",
        ),
        (
            "[app:main]\nuse = egg:MapProxy#multiapp\nconfig_dir = x\nallow_listing = maybe\n",
            "4: allow_listing = maybe: expected true or false",
        ),
        ("[main]\nx = 1\n", " there is no [app:main] or [application:main]"),
        (
            "[app:main]\nuse = a\n[composite:main]\nuse = a\n",
            " main may be [app:main] on line 1 or [composite:main] on line 3",
        ),
    ] {
        let error = read(&format!("{text}{A}")).unwrap_err();
        let expected = match expected.as_bytes()[0].is_ascii_digit() {
            true => format!("/etc/mapproxy/config.ini:{expected}"),
            false => expected.to_owned(),
        };
        assert!(error.contains(&expected), "{error}\ninstead of\n{expected}");
    }
}

fn server(text: &str) -> Result<(ServerOptions, usize), String> {
    let deployment = read(&format!("[app:main]\nuse = a\n{A}[server:main]\n{text}"))?;
    Ok((deployment.server, deployment.warnings.len()))
}

#[test]
fn servers_of_paste_become_ours() {
    let bind = |text: &str| vec![text.parse::<Bind>().unwrap()];
    for (text, expected, warnings) in [
        (
            "use = egg:Paste#http\nhost = 0.0.0.0\nport = 8081\nuse_threadpool = true\nthreadpool_workers = 5\n",
            ServerOptions { bind: bind("0.0.0.0:8081"), workers: Some(5), ..ServerOptions::default() },
            1,
        ),
        ("use = egg:Paste#http\nport = 8081\n", ServerOptions { bind: bind("8081"), ..ServerOptions::default() }, 0),
        (
            "use = egg:waitress#main\nlisten = *:8080 [::1]:8080\nthreads = 4\nurl_scheme = http\n",
            ServerOptions {
                bind: [bind("0.0.0.0:8080"), bind("[::1]:8080")].concat(),
                workers: Some(4),
                ..ServerOptions::default()
            },
            0,
        ),
        (
            "use = egg:waitress\nunix_socket = /run/m.sock\nunix_socket_perms = 660\ntrusted_proxy = 127.0.0.1\n\
          trusted_proxy_count = 1\n",
            ServerOptions {
                bind: bind("unix:/run/m.sock"),
                socket_mode: Some(0o660),
                trusted_proxies: vec!["127.0.0.1".to_owned()],
                ..ServerOptions::default()
            },
            1,
        ),
        (
            "use = egg:gunicorn#main\nhost = localhost\nport = 80\nworkers = 3\n",
            ServerOptions { bind: bind("localhost:80"), ..ServerOptions::default() },
            1,
        ),
        (
            "use = egg:Flup#fcgi_fork\nsocket = /run/m.sock\numask = 007\nminSpare = 2\nmaxChildren = 5\n",
            ServerOptions {
                fastcgi: true,
                bind: bind("unix:/run/m.sock"),
                socket_mode: Some(0o770),
                ..ServerOptions::default()
            },
            2,
        ),
        (
            "use = egg:PasteScript#flup_fcgi_thread\nhost = 127.0.0.1\nport = 9000\n",
            ServerOptions { fastcgi: true, bind: bind("127.0.0.1:9000"), ..ServerOptions::default() },
            0,
        ),
        ("use = egg:Flup#fcgi_thread\n", ServerOptions { fastcgi: true, ..ServerOptions::default() }, 0),
        (
            "use = mapproxy#fastcgi\nsocket = /run/m.sock\nsocket_mode = 600\nsocket_owner = www-data\n",
            ServerOptions {
                fastcgi: true,
                bind: bind("unix:/run/m.sock"),
                socket_mode: Some(0o600),
                socket_owner: Some("www-data".to_owned()),
                ..ServerOptions::default()
            },
            0,
        ),
        (
            "use = mapproxy#http\nbind = 8080 systemd\nthreads = 2\nworkers = 9\nmax_body = 100\nidle_timeout = 5\n\
          access_log = a.log\naccess_log_format = json\npublic_url = https://example.org/maps\ntrusted_proxies = unix, ::1\n",
            ServerOptions {
                bind: [bind("8080"), bind("systemd")].concat(),
                threads: Some(2),
                workers: Some(9),
                max_body: Some(100),
                idle_timeout: Some(5),
                access_log: Some("a.log".into()),
                access_log_format: Some(crate::server_options::LogFormat::Json),
                public_url: Some("https://example.org/maps".parse().unwrap()),
                trusted_proxies: vec!["unix".to_owned(), "::1".to_owned()],
                ..ServerOptions::default()
            },
            0,
        ),
    ] {
        assert_eq!(server(text).unwrap(), (expected, warnings), "{text}");
    }
    let text = format!(
        "[app:main]\nuse = a\n{A}[server:main]\nuse = egg:waitress#main\nurl_scheme = https\nurl_prefix = /m\n"
    );
    assert_eq!(app(&text), prefix("/m", Some(true), configuration("a.yaml")));
}

#[test]
fn servers_that_are_not_there_and_settings_without_meaning_are_refused() {
    for (text, expected) in [
        ("use = egg:Flup#scgi_fork\n", "7: use = egg:Flup#scgi_fork: there is no such server; there are mapproxy#http"),
        ("use = egg:Paste#http\nssl_pem = x\n", "8: ssl_pem: TLS ends in the web server"),
        ("use = egg:Paste#http\nthreads = 5\n", "8: threads means nothing for egg:Paste#http"),
        ("use = mapproxy#http\nport = many\n", "8: port = many: expected a number"),
        ("use = mapproxy#http\nunix_socket = a\nport = 1\n", "8: unix_socket and host or port exclude each other"),
        ("use = egg:Flup#fcgi\numask = 7\n", "8: umask is for a socket"),
        ("use = mapproxy#http\npublic_url = nonsense\n", "8: public_url = nonsense: "),
        ("host = x\n", "6: [server:main] needs use ="),
    ] {
        let error = server(text).unwrap_err();
        let expected = format!("/etc/mapproxy/config.ini:{expected}");
        assert!(error.starts_with(&expected), "{error}\ninstead of\n{expected}");
    }
}
