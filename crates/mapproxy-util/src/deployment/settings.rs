//! The keys of a section, each with the place it comes from, taken one by one so that what is left over can be refused.

use std::fmt::Display;
use std::path::PathBuf;
use std::str::FromStr;

use mapproxy_logging::IniError;

/// A value and where it stands.
#[derive(Clone, Debug)]
pub(super) struct Setting {
    pub(super) key: String,
    pub(super) text: String,
    pub(super) place: Place,
}

/// Where something stands.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) file: PathBuf,
    pub(super) line: usize,
}

impl Place {
    pub(super) fn error(&self, message: impl Display) -> IniError {
        IniError { file: self.file.clone(), line: self.line, message: message.to_string() }
    }
}

/// What is left of a section.
#[derive(Clone, Debug, Default)]
pub(super) struct Settings {
    list: Vec<Setting>,
}

impl Setting {
    /// A factory that is not there.
    pub(super) fn unknown(&self, what: &str, known: &[&str]) -> IniError {
        let Setting { key, text, place } = self;
        place.error(format_args!("{key} = {text}: there is no such {what}; there are {}", known.join(", ")))
    }
}

impl Settings {
    /// Puts a setting in, over one of the same key.
    pub(super) fn put(&mut self, setting: Setting) {
        self.list.retain(|other| other.key != setting.key);
        self.list.push(setting);
    }

    pub(super) fn take(&mut self, key: &str) -> Option<Setting> {
        let index = self.list.iter().position(|setting| setting.key == key)?;
        Some(self.list.remove(index))
    }

    /// All that is left.
    pub(super) fn take_all(&mut self) -> Vec<Setting> {
        std::mem::take(&mut self.list)
    }

    pub(super) fn text(&mut self, key: &str) -> Option<String> {
        self.take(key).map(|setting| setting.text)
    }

    pub(super) fn path(&mut self, key: &str) -> Result<Option<PathBuf>, IniError> {
        let Some(setting) = self.take(key) else { return Ok(None) };
        match setting.text.as_str() {
            "" => Err(setting.place.error(format_args!("{key} needs a path"))),
            path => Ok(Some(PathBuf::from(path))),
        }
    }

    /// A value that `parse` understands.
    pub(super) fn parsed<T, E: Display>(
        &mut self,
        key: &str,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Result<Option<T>, IniError> {
        let Some(setting) = self.take(key) else { return Ok(None) };
        let value = parse(&setting.text);
        value.map(Some).map_err(|error| setting.place.error(format_args!("{key} = {}: {error}", setting.text)))
    }

    pub(super) fn number<T: FromStr>(&mut self, key: &str) -> Result<Option<T>, IniError> {
        self.parsed(key, |text| text.parse().map_err(|_| "expected a number"))
    }

    /// As Paste understands truth.
    pub(super) fn flag(&mut self, key: &str) -> Result<Option<bool>, IniError> {
        self.parsed(key, |text| match text.to_ascii_lowercase().as_str() {
            "true" | "yes" | "on" | "y" | "t" | "1" => Ok(true),
            "false" | "no" | "off" | "n" | "f" | "0" => Ok(false),
            _ => Err("expected true or false"),
        })
    }

    /// Words with commas or blanks between them.
    pub(super) fn words(&mut self, key: &str) -> Option<Vec<String>> {
        let text = self.text(key)?;
        let words = text.split(|c: char| c == ',' || c.is_whitespace()).filter(|word| !word.is_empty());
        Some(words.map(str::to_owned).collect())
    }

    /// Refuses what nobody took.
    pub(super) fn finish(self, of: &str, known: &[&str]) -> Result<(), IniError> {
        match self.list.first() {
            None => Ok(()),
            Some(Setting { key, place, .. }) => {
                Err(place.error(format_args!("{key} means nothing for {of}; these do: {}", known.join(", "))))
            }
        }
    }
}
