//! Writing what was made: with a head that says of what, whole or not at all.

use std::io::Write;
use std::path::Path;

use jiff::Zoned;
use mapproxy_client::RedactedUrl;
use serde_json::{Map, Value};

use crate::{FAILED, Failure, MISTAKEN, println, yaml_out};

/// Nobody's file is overwritten unasked.
pub(super) fn check(place: &str, force: bool) -> Result<(), Failure> {
    if place != "-" && !force && Path::new(place).symlink_metadata().is_ok() {
        return Err(Failure::new(MISTAKEN, format_args!("\nERROR: {place} already exists, use --force to overwrite")));
    }
    Ok(())
}

/// Writes all documents; `from` is what they were made of.
pub(super) fn write(files: Vec<(&str, Map<String, Value>)>, from: &str, force: bool) -> Result<(), Failure> {
    let head = head(from, &Zoned::now().strftime("%Y-%m-%d %H:%M:%S").to_string(), std::env::args());
    for (place, document) in files {
        let text = format!("{head}\n{}", yaml_out::document(&document.into()));
        if place == "-" {
            println(format_args!("{}", text.trim_end_matches('\n')));
            continue;
        }
        save(Path::new(place), &text, force)
            .map_err(|error| Failure::new(FAILED, format_args!("ERROR: cannot write {place}: {error}")))?;
    }
    Ok(())
}

fn save(path: &Path, text: &str, force: bool) -> std::io::Result<()> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut builder = tempfile::Builder::new();
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        // As any file that is created: the umask takes away what others shall not.
        builder.permissions(std::fs::Permissions::from_mode(0o666));
    }
    let mut file = builder.tempfile_in(directory)?;
    file.write_all(text.as_bytes())?;
    let saved = if force { file.persist(path) } else { file.persist_noclobber(path) };
    saved.map(drop).map_err(|error| error.error)
}

/// Comment lines, without passwords.
fn head(from: &str, now: &str, command: impl Iterator<Item = String>) -> String {
    let clean = |text: &str| {
        let text = if text.contains("://") { RedactedUrl::new(text).as_str().to_owned() } else { text.to_owned() };
        text.replace(char::is_control, " ")
    };
    let mut head = format!(
        "# MapProxy configuration to begin with, automatically generated from:\n#   {}\n#\n\
         # It asks for each layer alone, and keeps each in a cache of its own, which is slow where several are shown\n\
         # together: look through it before it is used.\n#\n# Created on {now} with:\n#",
        clean(from)
    );
    let mut column = 1;
    for word in command.map(|word| clean(&word)) {
        let word = if word.is_empty() || word.contains(|c: char| c.is_whitespace() || "'\"$&;|<>()*?".contains(c)) {
            format!("'{}'", word.replace('\'', "'\\''"))
        } else {
            word
        };
        if column > 4 && column + word.len() > 76 {
            head.push_str(" \\\n#   ");
            column = 4;
        }
        head.push(' ');
        head.push_str(&word);
        column += 1 + word.len();
    }
    head.push('\n');
    head
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_head_names_the_command_without_passwords() {
        let command = [
            "mapproxy-util",
            "autoconfig",
            "--capabilities",
            "https://user:secret@example.org/wms?map=a&b=c",
            "--output",
            "a b\n.yaml",
        ];
        let head =
            head("https://user:secret@example.org/wms", "2026-01-01 00:00:00", command.into_iter().map(str::to_owned));
        assert!(!head.contains("secret") && head.contains("'a b .yaml'"), "{head}");
        assert!(head.lines().all(|line| line.starts_with('#')), "{head}");
        assert!(head.contains(" \\\n#    "), "{head}");
    }

    #[test]
    fn files_that_are_there_stay_unless_forced() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.yaml");
        let place = path.to_str().unwrap();
        assert!(check(place, false).is_ok() && check("-", false).is_ok());
        save(&path, "one", false).unwrap();
        assert!(check(place, false).is_err() && check(place, true).is_ok());
        assert!(save(&path, "two", false).is_err());
        save(&path, "two", true).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "two");
    }
}
