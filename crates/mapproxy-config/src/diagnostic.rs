//! What is wrong with a configuration: one [`Diagnostic`] per mistake, [`Diagnostics`] for all of them.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Serialize;

use crate::position::{Files, Span};

/// How bad a mistake is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The application starts, but something is not as the author may think.
    Warning,
    /// The application cannot start.
    Error,
}

/// One mistake, with the place it was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Diagnostic {
    /// Whether the application can start in spite of it.
    pub severity: Severity,
    /// Key path such as `sources.osm.req` or `layers[0].sources`; `.` is the whole document, empty if none applies.
    pub path: Arc<str>,
    /// The file, or `None` for configurations that are not from a file.
    pub file: Option<PathBuf>,
    /// Line from 1, 0 if unknown.
    pub line: u32,
    /// Column in characters from 1, 0 if unknown.
    pub column: u32,
    /// What is wrong, on one line.
    pub message: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
}

impl Diagnostic {
    /// A diagnostic of `severity` at `span`, a place in `files`.
    pub fn new(
        severity: Severity,
        files: &Files,
        span: Span,
        path: impl Into<Arc<str>>,
        message: impl Into<String>,
    ) -> Self {
        Self {
            severity,
            path: path.into(),
            file: files.path(span).map(Path::to_path_buf),
            line: span.line,
            column: span.column,
            message: message.into(),
            help: None,
        }
    }

    /// The same with a hint what to do.
    #[must_use]
    pub fn with_help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Whether this keeps the application from starting.
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }
}

/// `file:line:column: error: message (at key.path)`, then `  help: …` on a line of its own.
impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.file {
            Some(file) => write!(f, "{}", file.display())?,
            None => f.write_str("<configuration>")?,
        }
        if self.line > 0 {
            write!(f, ":{}:{}", self.line, self.column)?;
        }
        let severity = match self.severity {
            Severity::Warning => "warning",
            Severity::Error => "error",
        };
        write!(f, ": {severity}: {}", self.message)?;
        if !self.path.is_empty() && &*self.path != "." {
            write!(f, " (at {})", self.path)?;
        }
        if let Some(help) = &self.help {
            write!(f, "\n  help: {help}")?;
        }
        Ok(())
    }
}

/// All mistakes of a configuration, in the order of the files.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[serde(transparent)]
pub struct Diagnostics(pub Vec<Diagnostic>);

impl Diagnostics {
    /// Whether any of them is an error.
    pub fn has_errors(&self) -> bool {
        self.0.iter().any(Diagnostic::is_error)
    }

    /// The errors alone.
    pub fn errors(&self) -> impl Iterator<Item = &Diagnostic> {
        self.0.iter().filter(|diagnostic| diagnostic.is_error())
    }

    /// The warnings alone.
    pub fn warnings(&self) -> impl Iterator<Item = &Diagnostic> {
        self.0.iter().filter(|diagnostic| !diagnostic.is_error())
    }

    /// Each of them.
    pub fn iter(&self) -> std::slice::Iter<'_, Diagnostic> {
        self.0.iter()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// `2 errors, 1 warning`.
    pub fn summary(&self) -> String {
        let errors = self.errors().count();
        let count = |count: usize, noun: &str| {
            let plural = if count == 1 { "" } else { "s" };
            (count > 0).then(|| format!("{count} {noun}{plural}"))
        };
        let counts: Vec<String> =
            [count(errors, "error"), count(self.len() - errors, "warning")].into_iter().flatten().collect();
        if counts.is_empty() { "no errors, no warnings".to_owned() } else { counts.join(", ") }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }
}

impl<'a> IntoIterator for &'a Diagnostics {
    type Item = &'a Diagnostic;
    type IntoIter = std::slice::Iter<'a, Diagnostic>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}

/// One diagnostic a line (two with help).
impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, diagnostic) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{diagnostic}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Diagnostics {}
