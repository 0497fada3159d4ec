//! Where a value was written: positions, and the files they point into.

use std::fmt;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A place in one of the files of a configuration.
///
/// Small and `Copy`, since every node carries one; [`Files`] knows the file's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Span {
    /// Index into [`Files`].
    pub file: u32,
    /// Line, counted from 1; 0 where no line can be named (an empty file, a value made up by the program).
    pub line: u32,
    /// Column in characters, counted from 1; 0 like `line`.
    pub column: u32,
}

/// A value together with the place it was written.
#[derive(Debug, Clone, PartialEq)]
pub struct Spanned<T> {
    /// The value.
    pub value: T,
    /// Where it starts.
    pub span: Span,
}

impl<T> Deref for Spanned<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

/// Where an item of the checked configuration comes from, for messages of the stages that follow.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Origin {
    /// Key path such as `sources.osm` or `layers[0].sources[1]`.
    pub path: Arc<str>,
    /// Where the value starts.
    pub span: Span,
}

impl Origin {
    /// The origin of `path` at `span`.
    pub fn new(path: impl Into<Arc<str>>, span: Span) -> Self {
        Self { path: path.into(), span }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.path)
    }
}

/// The files a configuration was read from, in the order they were opened; index 0 is the main file.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Files(Vec<Option<PathBuf>>);

impl Files {
    /// The file `span` points into; `None` for a configuration that came as text.
    pub fn path(&self, span: Span) -> Option<&Path> {
        self.0.get(span.file as usize)?.as_deref()
    }

    /// All files, the main file first.
    pub fn iter(&self) -> impl Iterator<Item = &Path> {
        self.0.iter().filter_map(|path| path.as_deref())
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn add(&mut self, path: PathBuf) -> u32 {
        self.push(Some(path))
    }

    /// A place for a text that is in no file.
    pub(crate) fn add_text(&mut self) -> u32 {
        self.push(None)
    }

    fn push(&mut self, path: Option<PathBuf>) -> u32 {
        self.0.push(path);
        u32::try_from(self.0.len() - 1).unwrap_or(u32::MAX)
    }
}
