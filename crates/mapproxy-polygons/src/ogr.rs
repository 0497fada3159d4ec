//! Everything else: GDAL's `ogr2ogr` is run once, when the configuration is read, and writes GeoJSON to a pipe.
//!
//! Passwords in the name of a data source are kept out of messages, and that of PostgreSQL out of the list of processes.

use std::io::Read;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use crate::{Error, Found, is_query};

/// What a run may take.
#[derive(Clone, Copy, Debug)]
pub struct Limits<'a> {
    /// The program that writes features.
    pub ogr2ogr: &'a str,
    /// The program that lists layers.
    pub ogrinfo: &'a str,
    /// How long it may run.
    pub time: Duration,
    /// How much it may write, in bytes.
    pub size: u64,
}

/// Two minutes, and what a coverage of ten million points needs.
pub const LIMITS: Limits<'static> =
    Limits { ogr2ogr: "ogr2ogr", ogrinfo: "ogrinfo", time: Duration::from_secs(120), size: 1 << 30 };

pub(crate) fn read(name: &str, condition: Option<&str>, limits: &Limits<'_>) -> Result<Found, Error> {
    let source = Source::of(name);
    if name.starts_with('-') {
        return Err(source.error("no data source begins with a hyphen"));
    }
    let mut arguments: Vec<&str> = vec![
        "-f",
        "GeoJSON",
        "/vsistdout/",
        // Curves become lines; x and y as they are, with all their digits.
        "-nlt",
        "CONVERT_TO_LINEAR",
        "-dim",
        "XY",
        "-lco",
        "COORDINATE_PRECISION=15",
        "-lco",
        "RFC7946=NO",
    ];
    let layer;
    match condition {
        Some(query) if is_query(query) => arguments.extend([&*source.name, "-sql", query]),
        _ => {
            layer = first_layer(&source, limits)?;
            arguments.extend([&*source.name, &layer, "-select", ""]);
            if let Some(condition) = condition {
                arguments.extend(["-where", condition]);
            }
        }
    }
    let text = run(limits.ogr2ogr, &arguments, &source, limits)?;
    Ok(Found::GeoJson(text))
}

/// The first of the lines `1: name (Polygon)`.
fn first_layer(source: &Source, limits: &Limits<'_>) -> Result<String, Error> {
    let text = run(limits.ogrinfo, &["-ro", "-q", &source.name], source, limits)?;
    let line = text.lines().find_map(|line| line.strip_prefix("1: "));
    let layer = line.map(|line| {
        let name = line.rsplit_once(" (").filter(|(_, kind)| kind.ends_with(')')).map_or(line, |(name, _)| name);
        name.split_once(" (title: ").map_or(name, |(name, _)| name)
    });
    let layer = layer.ok_or_else(|| source.error("it has no layers"))?;
    if layer.starts_with('-') {
        return Err(source
            .error("its first layer has a name that begins with a hyphen: name it in a query (`where: select …`)"));
    }
    Ok(layer.to_owned())
}

/// A data source, with its secrets apart.
struct Source {
    name: String,
    shown: String,
    secrets: Vec<String>,
    password: Option<String>,
}

impl Source {
    fn of(name: &str) -> Source {
        let mut source = Source { name: name.to_owned(), shown: name.to_owned(), secrets: Vec::new(), password: None };
        for (start, end) in secrets_in(name) {
            source.secrets.push(name[start..end].to_owned());
        }
        // A name with a prefix is a connection, and may hold more than we know of.
        if let Some((prefix, _)) = name.split_once(':')
            && !source.secrets.is_empty()
        {
            source.shown = format!("{prefix}:…");
        }
        let is_postgres = name.get(..3).is_some_and(|prefix| prefix.eq_ignore_ascii_case("pg:"));
        if is_postgres && let Some((start, end)) = password_setting(name) {
            let value = name[start..end].trim_matches('\'').replace("\\'", "'").replace("\\\\", "\\");
            let before = name[..start].rfind("password").unwrap_or(start);
            source.name = format!("{}{}", &name[..before], &name[end..]);
            source.secrets.push(value.clone());
            source.password = Some(value);
        }
        source.secrets.retain(|secret| !secret.is_empty());
        source
    }

    fn error(&self, what: &str) -> Error {
        let hidden = self.secrets.iter().fold(what.to_owned(), |text, secret| text.replace(secret.as_str(), "***"));
        Error::Ogr { name: self.shown.clone(), what: hidden }
    }
}

/// The value of `password=`, quotes included.
fn password_setting(name: &str) -> Option<(usize, usize)> {
    let lower = name.to_ascii_lowercase();
    let at = lower.find("password")?;
    let rest = &name[at + "password".len()..];
    let value = rest.trim_start().strip_prefix('=')?.trim_start();
    let start = name.len() - value.len();
    let mut is_quoted = false;
    let mut before = ' ';
    let end = value.find(|c: char| {
        let ends = if is_quoted { false } else { c.is_whitespace() || c == ',' || c == '&' || c == ';' };
        if c == '\'' && before != '\\' {
            is_quoted = !is_quoted;
        }
        before = c;
        ends
    });
    Some((start, start + end.unwrap_or(value.len())))
}

/// Where passwords are: `password=…`, and `//user:…@`.
fn secrets_in(name: &str) -> Vec<(usize, usize)> {
    let mut found: Vec<(usize, usize)> = password_setting(name).into_iter().collect();
    if let Some(start) = name.find("://") {
        let start = start + 3;
        let end = name[start..].find('/').map_or(name.len(), |length| start + length);
        if let Some(at) = name[start..end].rfind('@')
            && let Some(colon) = name[start..start + at].find(':')
        {
            found.push((start + colon + 1, start + at));
        }
    }
    // Oracle and ODBC write user/password@where.
    let is_slashed = ["oci:", "odbc:", "mssql:"].iter().any(|prefix| name.to_ascii_lowercase().starts_with(prefix));
    if is_slashed
        && let (Some(slash), Some(at)) = (name.find('/'), name.rfind('@'))
        && slash < at
    {
        found.push((slash + 1, at));
    }
    found
}

fn run(program: &str, arguments: &[&str], source: &Source, limits: &Limits<'_>) -> Result<String, Error> {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    if let Some(password) = &source.password {
        command.env("PGPASSWORD", password);
    }
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(Error::NoGdal { what: source.shown.clone() });
        }
        Err(error) => return Err(source.error(&format!("{program} cannot be started: {error}"))),
    };
    let output = piped(child.stdout.take(), limits.size);
    let words = piped(child.stderr.take(), 64 * 1024);
    let status = finished(&mut child, limits.time);
    let failed = |what: &str| source.error(what);
    let status = match status {
        Ok(status) => status,
        Err(what) => {
            // It may have ended by itself meanwhile.
            let _ = child.kill();
            let _ = child.wait();
            return Err(failed(&what));
        }
    };
    let words = words.recv_timeout(Duration::from_secs(5)).unwrap_or_default();
    let words = String::from_utf8_lossy(&words);
    if !status.success() {
        let words = words.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join(" ");
        let words = if words.is_empty() { status.to_string() } else { words };
        return Err(failed(&words));
    }
    let bytes = output.recv_timeout(Duration::from_secs(5)).unwrap_or_default();
    if bytes.len() as u64 > limits.size {
        return Err(failed(&format!("its polygons are more than {} bytes", limits.size)));
    }
    String::from_utf8(bytes).map_err(|_| failed("what it wrote is no UTF-8"))
}

/// Reads a pipe to its end, in a thread, so that none fills up while another is read. One byte more than the limit is
/// kept, which tells that there was more.
fn piped(pipe: Option<impl Read + Send + 'static>, limit: u64) -> mpsc::Receiver<Vec<u8>> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut pipe) = pipe {
            // What was read before a failure tells more than the failure.
            let _ = pipe.by_ref().take(limit.saturating_add(1)).read_to_end(&mut bytes);
            let _ = std::io::copy(&mut pipe, &mut std::io::sink());
        }
        // Nobody waits any more where the time was up.
        let _ = sender.send(bytes);
    });
    receiver
}

fn finished(child: &mut Child, time: Duration) -> Result<ExitStatus, String> {
    let end = Instant::now() + time;
    let mut pause = Duration::from_millis(1);
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return Ok(status),
            Ok(None) if Instant::now() >= end => return Err(format!("it takes more than {} s", time.as_secs())),
            Ok(None) => thread::sleep(pause),
            Err(error) => return Err(error.to_string()),
        }
        pause = (pause * 2).min(Duration::from_millis(50));
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::path::PathBuf;

    use super::*;

    /// A directory with programs of these contents.
    struct Programs(tempfile::TempDir);

    impl Programs {
        fn new(ogrinfo: &str, ogr2ogr: &str) -> Programs {
            let directory = tempfile::tempdir().unwrap();
            for (name, script) in [("ogrinfo", ogrinfo), ("ogr2ogr", ogr2ogr)] {
                let path = directory.path().join(name);
                std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
                std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
            }
            Programs(directory)
        }

        fn path(&self, name: &str) -> PathBuf {
            self.0.path().join(name)
        }

        fn read(&self, name: &str, condition: Option<&str>) -> Result<Found, Error> {
            let (ogr2ogr, ogrinfo) = (self.path("ogr2ogr"), self.path("ogrinfo"));
            let (ogr2ogr, ogrinfo) = (ogr2ogr.to_str().unwrap(), ogrinfo.to_str().unwrap());
            read(name, condition, &Limits { ogr2ogr, ogrinfo, time: Duration::from_secs(5), size: 1000 })
        }
    }

    const ONE_LAYER: &str = "echo '1: a layer (title: of areas) (Multi Polygon)'; echo '2: b (Point)'";

    #[test]
    fn the_first_layer_is_asked_for_with_the_condition_or_a_query_as_it_is() {
        let programs = Programs::new(ONE_LAYER, r#"for a in "$@"; do printf '%s|' "$a"; done"#);
        let text = |condition| match programs.read("a.gml", condition).unwrap() {
            Found::GeoJson(text) => text,
            other => panic!("{other:?}"),
        };
        assert!(text(None).ends_with("|a.gml|a layer|-select||"), "{}", text(None));
        assert!(text(Some("n = 'x y'")).ends_with("|a.gml|a layer|-select||-where|n = 'x y'|"));
        assert!(text(Some("SELECT * FROM b")).ends_with("|a.gml|-sql|SELECT * FROM b|"));
    }

    #[test]
    fn what_the_programs_say_is_told_without_passwords() {
        let programs = Programs::new(ONE_LAYER, "echo \"ERROR 1: $*: $PGPASSWORD\" >&2; exit 1");
        for name in [
            "PG:dbname=maps host=db password=se'cr3t user=me",
            "PG:password='cr3t' dbname=maps",
            "PG:dbname=maps PASSWORD = cr3t",
            "PG:postgresql://me:cr3t@db/maps",
            "MySQL:maps,user=me,password=cr3t,host=db",
            "WFS:https://me:cr3t@example.org/wfs",
            "OCI:me/cr3t@maps",
        ] {
            let message = programs.read(name, None).unwrap_err().to_string();
            assert!(!message.contains("cr3t") && message.contains("ERROR 1"), "{message}");
            assert!(
                message.starts_with(&format!("ogr2ogr cannot read {}:…: ", name.split(':').next().unwrap())),
                "{message}"
            );
        }
    }

    #[test]
    fn the_password_of_postgresql_is_not_seen_in_the_list_of_processes() {
        let programs = Programs::new(ONE_LAYER, r#"printf '%s' "$* $PGPASSWORD""#);
        let Found::GeoJson(text) = programs.read("PG:dbname=maps password='it\\'s' user=me", None).unwrap() else {
            panic!()
        };
        assert!(text.contains("PG:dbname=maps  user=me a layer") && text.ends_with("it's"), "{text}");
    }

    #[test]
    fn a_program_that_hangs_writes_too_much_or_is_missing_is_told() {
        let programs = Programs::new("exec sleep 60", "");
        assert!(programs.read("a.gml", None).unwrap_err().to_string().ends_with("it takes more than 5 s"));
        let programs = Programs::new(ONE_LAYER, "head -c 100000 /dev/zero");
        assert!(programs.read("a.gml", None).unwrap_err().to_string().ends_with("more than 1000 bytes"));
        let programs = Programs::new(":", ":");
        assert!(programs.read("a.gml", None).unwrap_err().to_string().ends_with("it has no layers"));
        assert!(programs.read("-x", None).is_err());
        let nothing = Limits { ogr2ogr: "no-such-program", ogrinfo: "no-such-program", ..LIMITS };
        let missing = read("PG:dbname=a password=cr3t", None, &nothing).unwrap_err().to_string();
        assert!(missing.starts_with("PG:… is read by GDAL's `ogr2ogr`, which is not installed"), "{missing}");
    }
}
