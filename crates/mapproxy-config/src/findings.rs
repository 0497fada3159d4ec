//! Collects what is wrong while a configuration is read, checked and resolved.

use std::sync::Arc;

use crate::diagnostic::{Diagnostic, Diagnostics, Severity};
use crate::position::{Files, Span};

/// A growing list of mistakes.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    list: Vec<Finding>,
    /// How far errors are toned down: while something is resolved that nobody uses, they are warnings.
    lenient: bool,
    errors: usize,
    problems: usize,
}

#[derive(Debug)]
struct Finding {
    severity: Severity,
    span: Span,
    path: Arc<str>,
    message: String,
    help: Option<String>,
}

impl Findings {
    pub(crate) fn add(
        &mut self,
        severity: Severity,
        span: Span,
        path: impl Into<Arc<str>>,
        message: impl Into<String>,
        help: Option<String>,
    ) {
        let path = path.into();
        let mut message = message.into();
        self.problems += usize::from(severity == Severity::Error);
        let severity = if self.lenient && severity == Severity::Error {
            message.push_str(" (not used by any layer)");
            Severity::Warning
        } else {
            severity
        };
        self.errors += usize::from(severity == Severity::Error);
        self.list.push(Finding { severity, span, path, message, help });
    }

    pub(crate) fn error(&mut self, span: Span, path: impl Into<Arc<str>>, message: impl Into<String>) {
        self.add(Severity::Error, span, path, message, None);
    }

    pub(crate) fn warning(&mut self, span: Span, path: impl Into<Arc<str>>, message: impl Into<String>) {
        self.add(Severity::Warning, span, path, message, None);
    }

    /// Until the next call, errors are warnings (or not).
    pub(crate) fn set_lenient(&mut self, lenient: bool) {
        self.lenient = lenient;
    }

    /// How many errors there were, toned down ones included.
    pub(crate) fn problems(&self) -> usize {
        self.problems
    }

    pub(crate) fn has_errors(&self) -> bool {
        self.errors > 0
    }

    /// All of them, sorted by place, each once.
    pub(crate) fn into_diagnostics(mut self, files: &Files) -> Diagnostics {
        self.list.sort_by_key(|finding| (finding.span.file, finding.span.line, finding.span.column));
        let diagnostics = self.list.into_iter().map(|finding| {
            let diagnostic = Diagnostic::new(finding.severity, files, finding.span, finding.path, finding.message);
            Diagnostic { help: finding.help, ..diagnostic }
        });
        let mut list: Vec<Diagnostic> = diagnostics.collect();
        list.dedup();
        Diagnostics(list)
    }
}
