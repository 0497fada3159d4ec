//! The cases: configurations, each with the requests that are sent to both programs.
//!
//! A case is `NAME.yaml` beside `NAME.txt`. In the text each line is a path with its query; `{a|b}` stands for one line
//! with each of the alternatives, and `CAUSE: path` says that the answers are known to differ, and why: causes are
//! explained in `causes.txt`, a line each. Lines that begin with `#` are for readers.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

/// One configuration and what it is asked.
#[derive(Debug)]
pub(super) struct Case {
    pub(super) name: String,
    pub(super) config: PathBuf,
    pub(super) questions: Vec<Question>,
}

/// One request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Question {
    pub(super) path: String,
    /// Why the answers differ, where they are known to.
    pub(super) cause: Option<String>,
}

/// All cases of a folder whose names contain `filter`, by name.
pub(super) fn cases(folder: &Path, filter: Option<&str>, causes: &BTreeMap<String, String>) -> Result<Vec<Case>> {
    let entries = fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let mut cases = Vec::new();
    for entry in entries {
        let config = entry?.path();
        let name = config.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default().to_owned();
        if config.extension().is_none_or(|extension| extension != "yaml") || !name.contains(filter.unwrap_or_default())
        {
            continue;
        }
        let file = config.with_extension("txt");
        let text = fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
        let questions = parse(&text);
        ensure!(!questions.is_empty(), "{} asks nothing", file.display());
        for cause in questions.iter().filter_map(|question| question.cause.as_ref()) {
            ensure!(causes.contains_key(cause), "{}: {cause} is not explained in causes.txt", file.display());
        }
        cases.push(Case { name, config, questions });
    }
    ensure!(!cases.is_empty(), "no case in {}", folder.display());
    cases.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(cases)
}

/// The causes explained in `causes.txt`.
pub(super) fn causes(folder: &Path) -> Result<BTreeMap<String, String>> {
    let file = folder.join("causes.txt");
    let text = fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
    let lines = text.lines().filter(|line| !line.trim().is_empty() && !line.starts_with('#'));
    let pairs = lines.map(|line| {
        let (name, reason) = line.split_once(':').with_context(|| format!("{}: no cause: {line}", file.display()))?;
        Ok((name.trim().to_owned(), reason.trim().to_owned()))
    });
    pairs.collect()
}

fn parse(text: &str) -> Vec<Question> {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let questions = lines.flat_map(|line| {
        let (cause, path) = match line.split_once(": ") {
            Some((cause, path)) if !cause.starts_with('/') => (Some(cause.to_owned()), path),
            _ => (None, line),
        };
        expand(path).into_iter().map(move |path| Question { path, cause: cause.clone() })
    });
    questions.collect()
}

/// `a{b|c}d` becomes `abd` and `acd`; several braces multiply, the last changes fastest.
fn expand(text: &str) -> Vec<String> {
    let Some((before, rest)) = text.split_once('{') else { return vec![text.to_owned()] };
    let Some((alternatives, after)) = rest.split_once('}') else { return vec![text.to_owned()] };
    let tails = expand(after);
    let heads = alternatives.split('|');
    heads.flat_map(|head| tails.iter().map(move |tail| format!("{before}{head}{tail}"))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn braces_multiply() {
        assert_eq!(expand("/a{1|2}b{x|}"), ["/a1bx", "/a1b", "/a2bx", "/a2b"]);
        assert_eq!(expand("/plain{"), ["/plain{"]);
    }

    #[test]
    fn a_line_may_name_a_cause() {
        let question = |path: &str, cause: Option<&str>| Question { path: path.into(), cause: cause.map(Into::into) };
        let expected = [question("/a", None), question("/b?x=1", Some("crash")), question("/b?x=2", Some("crash"))];
        assert_eq!(parse("# text\n/a\n\ncrash: /b?x={1|2}\n"), expected);
    }
}
