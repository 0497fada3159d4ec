//! What goes into other servers, and into systemd: for one configuration, one address, one path.

use std::path::{Path, PathBuf};

use super::backend::Backend;
use super::render::render;
use super::write::Target;
use super::{Order, failure};
use crate::Failure;

pub(super) fn nginx(order: &Order<'_>) -> Result<Vec<Target>, Failure> {
    let template = match order.fastcgi {
        true => include_str!("templates/nginx-fastcgi.conf"),
        false => include_str!("templates/nginx-http.conf"),
    };
    one_file(order, template, &order.backend.to_string())
}

pub(super) fn apache(order: &Order<'_>) -> Result<Vec<Target>, Failure> {
    let (template, scheme) = match order.fastcgi {
        true => (include_str!("templates/apache-fastcgi.conf"), "fcgi"),
        false => (include_str!("templates/apache-http.conf"), "http"),
    };
    let backend = match &order.backend {
        Backend::Unix(path) => format!("unix:{path}|{scheme}://mapproxy"),
        tcp => format!("{scheme}://{tcp}"),
    };
    one_file(order, template, &backend)
}

pub(super) fn lighttpd(order: &Order<'_>) -> Result<Vec<Target>, Failure> {
    let template = match order.fastcgi {
        true => include_str!("templates/lighttpd-fastcgi.conf"),
        false => include_str!("templates/lighttpd-http.conf"),
    };
    let backend = match &order.backend {
        Backend::Tcp(host, port) => format!("\"host\" => \"{host}\", \"port\" => {port}"),
        Backend::Unix(path) if order.fastcgi => format!("\"socket\" => \"{path}\""),
        Backend::Unix(path) => format!("\"host\" => \"{path}\""),
    };
    one_file(order, template, &backend)
}

pub(super) fn varnish(order: &Order<'_>) -> Result<Vec<Target>, Failure> {
    let backend = match &order.backend {
        Backend::Tcp(host, port) => format!(".host = \"{host}\";\n    .port = \"{port}\";"),
        Backend::Unix(path) => format!(".path = \"{path}\";"),
    };
    one_file(order, include_str!("templates/varnish.vcl"), &backend)
}

fn one_file(order: &Order<'_>, template: &str, backend: &str) -> Result<Vec<Target>, Failure> {
    let text = render(
        template,
        &[
            ("config", &order.configuration.display().to_string()),
            ("command", &command(order)),
            ("backend", backend),
            ("prefix", order.prefix.as_str()),
            ("prefix_pattern", &order.prefix.pattern()),
        ],
    );
    Ok(vec![Target::new(order.destination, text)])
}

/// How the server is started that the snippet is for.
fn command(order: &Order<'_>) -> String {
    let fastcgi = if order.fastcgi { "--fastcgi " } else { "" };
    let path = order.configuration.display().to_string();
    // Quoted for a shell where it must be.
    let plain = path.chars().all(|c| c.is_alphanumeric() || "/._-+,@".contains(c));
    let path = if plain { path } else { format!("'{}'", path.replace('\'', "'\\''")) };
    format!("mapproxy-util serve {fastcgi}-b {} {path}", order.backend)
}

pub(super) fn deploy_ini(order: &Order<'_>) -> Result<Vec<Target>, Failure> {
    let path = order.configuration.display().to_string().replace('%', "%%");
    let app = match order.prefix.as_str() {
        "" => format!("[app:main]\nuse = mapproxy#app\nmapproxy_conf = {path}\n"),
        prefix => format!(
            "[composite:main]\nuse = egg:Paste#urlmap\n{prefix} = maps\n\n[app:maps]\nuse = mapproxy#app\n\
             mapproxy_conf = {path}\n"
        ),
    };
    let protocol = if order.fastcgi { "fastcgi" } else { "http" };
    let socket = if order.fastcgi { "socket" } else { "unix_socket" };
    let server = match &order.backend {
        Backend::Tcp(host, port) => format!("host = {host}\nport = {port}\n"),
        Backend::Unix(path) => format!("{socket} = {path}\n"),
    };
    let server = format!("[server:main]\nuse = mapproxy#{protocol}\n{server}");
    let text = render(include_str!("templates/deploy.ini"), &[("app", &app), ("server", &server)]);
    Ok(vec![Target::new(order.destination, text)])
}

pub(super) fn systemd(order: &Order<'_>) -> Result<Vec<Target>, Failure> {
    let program = std::env::current_exe()
        .and_then(|program| program.canonicalize())
        .map_err(|error| failure(format_args!("cannot find this program: {error}")))?;
    let (listen, rights) = match &order.backend {
        Backend::Unix(path) => {
            // Those who may connect are the web server's group; Debian calls it so for all of them.
            (path.clone(), "SocketUser=mapproxy\nSocketGroup=www-data\nSocketMode=0660\n".to_owned())
        }
        tcp => (tcp.to_string(), String::new()),
    };
    let service = render(
        include_str!("templates/systemd/mapproxy.service"),
        &[
            ("config", &order.configuration.display().to_string()),
            ("program", &unit_quoted(&program)),
            ("serve", if order.fastcgi { "--fastcgi -b systemd" } else { "-b systemd" }),
            ("quoted_config", &unit_quoted(&order.configuration)),
            ("writable", &writable(&order.configuration)),
        ],
    );
    let socket = render(include_str!("templates/systemd/mapproxy.socket"), &[("listen", &listen), ("rights", &rights)]);
    Ok(vec![
        Target::new(order.destination.join("mapproxy.service"), service),
        Target::new(order.destination.join("mapproxy.socket"), socket),
    ])
}

/// A word of a command line in a unit.
fn unit_quoted(path: &Path) -> String {
    let text = path.display().to_string().replace('%', "%%").replace('$', "$$");
    let plain = text.chars().all(|c| c.is_alphanumeric() || "/._-+,@%$".contains(c));
    if plain { text } else { format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"")) }
}

/// Where the server must be allowed to write, besides the folder that systemd makes for it.
fn writable(configuration: &Path) -> String {
    let made_by_systemd = Path::new("/var/cache/mapproxy");
    let mut folders: Vec<PathBuf> = Vec::new();
    if let Some(config) = mapproxy_config::load(configuration).config {
        folders.push(config.globals.cache_base_dir.clone());
        folders.push(config.globals.lock_dir.clone());
        for cache in config.caches.values() {
            folders.extend(cache.grids.iter().flat_map(|grid| grid.store.directories()).map(Path::to_path_buf));
            folders.push(cache.tile_lock_dir.clone());
        }
    }
    folders.sort();
    let mut lines = String::new();
    let mut last: Option<&PathBuf> = None;
    for folder in &folders {
        if folder.starts_with(made_by_systemd) || last.is_some_and(|last| folder.starts_with(last)) {
            continue;
        }
        last = Some(folder);
        if lines.is_empty() {
            lines.push_str("# Must be there before, and belong to mapproxy.\n");
        }
        lines.push_str(&format!("ReadWritePaths=-{}\n", unit_quoted(folder)));
    }
    lines
}
