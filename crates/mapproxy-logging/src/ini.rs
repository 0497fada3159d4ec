//! INI files in the dialect of Python's `configparser`, which `log.ini` and Paste's deployment files are written in.
//!
//! Values may go on over indented lines, `#` and `;` begin comment lines (but nothing inside a line), `=` and `:` both
//! separate, what stands in `[DEFAULT]` is in every section, and `%(name)s` stands for another value. Every section and
//! value knows its line, so that whoever makes sense of it can say where a mistake is. The crates for INI files tell
//! the lines of broken syntax only.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

/// References inside references are followed so deep, as `configparser` does.
const MAX_DEPTH: usize = 10;

/// Something is wrong with an INI file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct IniError {
    /// The file.
    pub file: PathBuf,
    /// The line, from 1; 0 for the file as a whole.
    pub line: usize,
    /// What is wrong.
    pub message: String,
}

impl fmt::Display for IniError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "{}: {}", self.file.display(), self.message),
            line => write!(f, "{}:{line}: {}", self.file.display(), self.message),
        }
    }
}

/// Whether `Level` and `level` are the same key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keys {
    /// They are, as in `log.ini`.
    Folded,
    /// They are two, as in a deployment file.
    AsWritten,
}

/// An INI file that has been read.
#[derive(Clone, Debug)]
pub struct Ini {
    file: PathBuf,
    keys: Keys,
    sections: Vec<Section>,
    /// What every section has: `here`, `__file__`, then what `[DEFAULT]` says.
    defaults: Vec<Entry>,
}

/// A section and what it says itself.
#[derive(Clone, Debug)]
pub struct Section {
    /// Between the brackets.
    pub name: String,
    /// The line of its heading.
    pub line: usize,
    entries: Vec<Entry>,
}

/// A key and its value as written.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The key; in small letters if [`Keys::Folded`].
    pub key: String,
    /// The value, without any `%(name)s` replaced.
    pub raw: String,
    /// The line it begins on.
    pub line: usize,
}

/// A value with all references replaced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Value {
    /// Lines of a longer value are separated by `\n`.
    pub text: String,
    /// The line it begins on.
    pub line: usize,
}

impl Ini {
    /// Reads a file. `%(here)s` is its folder and `%(__file__)s` its own path, both absolute.
    pub fn read(path: impl AsRef<Path>, keys: Keys) -> Result<Ini, IniError> {
        let path = path.as_ref();
        let error = |message| IniError { file: path.to_owned(), line: 0, message };
        let text = fs::read(path).map_err(|reason| error(format!("cannot be read: {reason}")))?;
        let text = String::from_utf8(text).map_err(|_| error("is not UTF-8".to_owned()))?;
        Ini::parse(&text, path, keys)
    }

    /// What [`Ini::read`] makes of a file with this text.
    pub fn parse(text: &str, path: &Path, keys: Keys) -> Result<Ini, IniError> {
        let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        let here = absolute.parent().unwrap_or(&absolute).to_string_lossy().into_owned();
        // Values are taken as they are, so that a percent sign in a path stays one.
        let given = |key: &str, value: String| Entry { key: key.to_owned(), raw: value.replace('%', "%%"), line: 0 };
        let given = vec![given("here", here), given("__file__", absolute.to_string_lossy().into_owned())];
        let mut ini = Ini { file: path.to_owned(), keys, sections: Vec::new(), defaults: given };
        ini.read_lines(text.strip_prefix('\u{feff}').unwrap_or(text))?;
        Ok(ini)
    }

    fn read_lines(&mut self, text: &str) -> Result<(), IniError> {
        let mut place = None;
        // Lines that are indented more than the last key go on with its value.
        let mut key_indent = None;
        for (index, whole) in text.lines().enumerate() {
            let number = index + 1;
            let line = whole.trim();
            if line.starts_with(['#', ';']) {
                continue;
            }
            if line.is_empty() {
                if let (Some(place), Some(_)) = (place, key_indent) {
                    self.go_on(place, "");
                }
                continue;
            }
            let indent = whole.chars().take_while(|c| c.is_whitespace()).count();
            if let (Some(place), true) = (place, key_indent.is_some_and(|of_key| indent > of_key)) {
                self.go_on(place, line);
                continue;
            }
            key_indent = None;
            let heading = line.strip_prefix('[').and_then(|rest| rest.rsplit_once(']'));
            if let Some((name, _)) = heading.filter(|(name, _)| !name.is_empty()) {
                place = Some(self.open(name, number)?);
                continue;
            }
            let Some(place) = place else {
                return Err(self.error(number, "a [section] must come before the first value"));
            };
            let Some((key, value)) = line.split_once(['=', ':']) else {
                return Err(self.error(number, format!("expected `key = value`, found {line:?}")));
            };
            let key = self.folded(key.trim());
            if key.is_empty() {
                return Err(self.error(number, "there is no key before the separator"));
            }
            self.add(place, Entry { key, raw: value.trim().to_owned(), line: number })?;
            key_indent = Some(indent);
        }
        let lists = self.sections.iter_mut().map(|section| &mut section.entries).chain([&mut self.defaults]);
        for entry in lists.flatten() {
            entry.raw.truncate(entry.raw.trim_end().len());
        }
        Ok(())
    }

    /// The place of the section's entries: its index, or `None` for those of all sections.
    fn open(&mut self, name: &str, line: usize) -> Result<Option<usize>, IniError> {
        if name == "DEFAULT" {
            return Ok(None);
        }
        if let Some(first) = self.section(name) {
            return Err(self.error(line, format!("[{name}] is there already, on line {}", first.line)));
        }
        self.sections.push(Section { name: name.to_owned(), line, entries: Vec::new() });
        Ok(Some(self.sections.len() - 1))
    }

    fn entries(&mut self, place: Option<usize>) -> &mut Vec<Entry> {
        match place {
            Some(index) => &mut self.sections[index].entries,
            None => &mut self.defaults,
        }
    }

    fn add(&mut self, place: Option<usize>, entry: Entry) -> Result<(), IniError> {
        let entries = self.entries(place);
        match entries.iter_mut().find(|other| other.key == entry.key) {
            // Given by us, and the file may say otherwise.
            Some(given) if given.line == 0 => *given = entry,
            Some(first) => {
                let message = format!("{} is there already, on line {}", entry.key, first.line);
                return Err(self.error(entry.line, message));
            }
            None => entries.push(entry),
        }
        Ok(())
    }

    fn go_on(&mut self, place: Option<usize>, line: &str) {
        if let Some(entry) = self.entries(place).last_mut() {
            entry.raw.push('\n');
            entry.raw.push_str(line);
        }
    }

    fn folded(&self, key: &str) -> String {
        match self.keys {
            Keys::Folded => key.to_lowercase(),
            Keys::AsWritten => key.to_owned(),
        }
    }

    /// The file it was read from.
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// All sections but `[DEFAULT]`.
    pub fn sections(&self) -> &[Section] {
        &self.sections
    }

    /// The section of that name.
    pub fn section(&self, name: &str) -> Option<&Section> {
        self.sections.iter().find(|section| section.name == name)
    }

    /// What `[DEFAULT]` says.
    pub fn defaults(&self) -> impl Iterator<Item = &Entry> {
        self.defaults.iter().filter(|entry| entry.line > 0)
    }

    /// Takes over what another file's `[DEFAULT]` says, where this file's does not say it itself.
    pub fn inherit(&mut self, entry: &Entry) {
        if !self.defaults.iter().any(|own| own.key == entry.key) {
            self.defaults.push(entry.clone());
        }
    }

    /// The section's value of that key, or that of `[DEFAULT]`.
    pub fn get(&self, section: &Section, key: &str) -> Result<Option<Value>, IniError> {
        self.entry(section, key).map(|entry| self.value(section, entry)).transpose()
    }

    /// What [`Ini::get`] answers, as written.
    pub fn entry<'a>(&'a self, section: &'a Section, key: &str) -> Option<&'a Entry> {
        section.entries.iter().chain(&self.defaults).find(|entry| entry.key == key)
    }

    /// The entry's value as seen from the section, with references replaced.
    pub fn value(&self, section: &Section, entry: &Entry) -> Result<Value, IniError> {
        let mut text = String::new();
        self.replace(section, entry, &entry.raw, MAX_DEPTH, &mut text)?;
        Ok(Value { text, line: entry.line })
    }

    fn replace(
        &self,
        section: &Section,
        entry: &Entry,
        raw: &str,
        depth: usize,
        text: &mut String,
    ) -> Result<(), IniError> {
        let error = |message: String| self.error(entry.line, format!("{}: {message}", entry.key));
        if depth == 0 {
            return Err(error("its references lead to each other".to_owned()));
        }
        let mut rest = raw;
        while let Some((before, after)) = rest.split_once('%') {
            text.push_str(before);
            if let Some(after) = after.strip_prefix('%') {
                text.push('%');
                rest = after;
                continue;
            }
            let reference = after.strip_prefix('(').and_then(|after| after.split_once(")s"));
            let Some((name, after)) = reference.filter(|(name, _)| !name.contains(')')) else {
                return Err(error("a percent sign must be written %% where it begins no %(name)s".to_owned()));
            };
            let Some(other) = self.entry(section, &self.folded(name)) else {
                return Err(error(format!("%({name})s: there is no {name:?} in this section or in [DEFAULT]")));
            };
            self.replace(section, entry, &other.raw, depth - 1, text)?;
            rest = after;
        }
        text.push_str(rest);
        Ok(())
    }

    /// A mistake on that line of the file.
    pub fn error(&self, line: usize, message: impl Into<String>) -> IniError {
        IniError { file: self.file.clone(), line, message: message.into() }
    }
}

impl Section {
    /// What the section says itself, in order, without `[DEFAULT]`.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Ini, String> {
        Ini::parse(text, Path::new("/etc/x/a.ini"), Keys::Folded).map_err(|error| error.to_string())
    }

    /// The values of the first section; mistakes as `!…`.
    fn values(text: &str) -> Vec<(String, String)> {
        let ini = parse(text).unwrap();
        let section = &ini.sections()[0];
        let value = |entry: &Entry| match ini.value(section, entry) {
            Ok(value) => (entry.key.clone(), value.text),
            Err(error) => (entry.key.clone(), format!("!{error}")),
        };
        section.entries().iter().map(value).collect()
    }

    fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    /// What Python 3.11's `ConfigParser` answers for the same text.
    #[test]
    fn values_are_those_of_pythons_configparser() {
        for (text, expected) in [
            ("[a]\nx = 1\n  2\n   3\ny: 4\n", &[("x", "1\n2\n3"), ("y", "4")][..]),
            ("[a]\nx = 1\n  # c\n  2\n; c\n  3\ny: 4\n", &[("x", "1\n2\n3"), ("y", "4")]),
            ("[a]\nx = 1\n\n  2\n\n\ny: 4\n", &[("x", "1\n\n2"), ("y", "4")]),
            ("[a]\nx =\n  2\n  3\ny =\n", &[("x", "\n2\n3"), ("y", "")]),
            ("[a]\nx = 1 ; c\ny = 2 # d\n", &[("x", "1 ; c"), ("y", "2 # d")]),
            (
                "[DEFAULT]\nz = 9\n[a]\nx = %(z)s %(here)s %(HERE)s %(__file__)s %%\n",
                &[("x", "9 /etc/x /etc/x /etc/x/a.ini %")],
            ),
            ("[a]\na:b = c\nx y = 2\n a = 5\n", &[("a", "b = c"), ("x y", "2\na = 5")]),
            ("[a]\nx=1\n [b]\ny=2\n", &[("x", "1\n[b]"), ("y", "2")]),
            ("[a]\n  x=1\n  y=2\n", &[("x", "1"), ("y", "2")]),
            ("[a]\n  x=1\n    y=2\n z=3\n", &[("x", "1\ny=2"), ("z", "3")]),
            ("[a] foo\nx=1\n", &[("x", "1")]),
            ("[a]\nXy=1\n[A]\nz=2\n", &[("xy", "1")]),
            ("[default]\nXy=1\n[a]\nz=2\n", &[("xy", "1")]),
            ("[a]\nx = 1\n\t2\n", &[("x", "1\n2")]),
            ("[a]\nx = b = c\ny == 3\n", &[("x", "b = c"), ("y", "= 3")]),
            ("[a]\nx = %(Y)s\ny=5\n", &[("x", "5"), ("y", "5")]),
        ] {
            assert_eq!(values(text), pairs(expected), "{text:?}");
        }
        assert_eq!(parse("[a]b]\nx=1\n").unwrap().sections()[0].name, "a]b");
    }

    #[test]
    fn what_python_refuses_is_refused_with_file_and_line() {
        for (text, expected) in [
            ("[a]\nx = 1\nx = 2\n", "/etc/x/a.ini:3: x is there already, on line 2"),
            ("[a]\nx = 1\n[a]\ny = 2\n", "/etc/x/a.ini:3: [a] is there already, on line 1"),
            ("x = 1\n", "/etc/x/a.ini:1: a [section] must come"),
            ("[a\nx = 1\n", "/etc/x/a.ini:1: a [section] must come"),
            ("[a]\nx\n", "/etc/x/a.ini:2: expected `key = value`"),
            ("[a]\n = 1\n", "/etc/x/a.ini:2: there is no key"),
            ("[a]\n[]\n", "/etc/x/a.ini:2: expected `key = value`"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.starts_with(expected), "{error}");
        }
        for (text, expected) in [
            ("[a]\nx = %(nope)s\n", "!/etc/x/a.ini:2: x: %(nope)s: there is no \"nope\""),
            ("[a]\nx = 50% of\n", "!/etc/x/a.ini:2: x: a percent sign"),
            ("[a]\nx = %(here\n", "!/etc/x/a.ini:2: x: a percent sign"),
            ("[a]\nx = %(y)d\ny=5\n", "!/etc/x/a.ini:2: x: a percent sign"),
            ("[a]\n\nx = %(y)s\ny = %(x)s\n", "!/etc/x/a.ini:3: x: its references lead to each other"),
        ] {
            let value = &values(text)[0].1;
            assert!(value.starts_with(expected), "{value}");
        }
    }

    #[test]
    fn keys_of_deployment_files_keep_their_case_and_sections_inherit_from_default() {
        let text = "[DEFAULT]\ndebug = 1\nhere = there\n[app:main]\nXy = 1\nxy = %(here)s\n";
        let ini = Ini::parse(text, Path::new("a.ini"), Keys::AsWritten).unwrap();
        let section = ini.section("app:main").unwrap();
        assert_eq!(section.entries().len(), 2);
        assert_eq!(ini.get(section, "Xy").unwrap().unwrap(), Value { text: "1".to_owned(), line: 5 });
        assert_eq!(ini.get(section, "xy").unwrap().unwrap().text, "there");
        assert_eq!(ini.get(section, "debug").unwrap().unwrap(), Value { text: "1".to_owned(), line: 2 });
        assert_eq!(ini.get(section, "XY").unwrap(), None);
        assert_eq!(ini.defaults().map(|entry| entry.key.as_str()).collect::<Vec<_>>(), ["here", "debug"]);
    }

    #[test]
    fn a_percent_sign_in_the_files_own_path_is_no_reference() {
        let ini = Ini::parse("[a]\nx = %(here)s\n", Path::new("/etc/50%/a.ini"), Keys::Folded).unwrap();
        assert_eq!(ini.get(&ini.sections()[0], "x").unwrap().unwrap().text, "/etc/50%");
    }
}
