//! XSLT 1.0 by the program `xsltproc` of libxslt: a process for each document, bounded in time and output, without
//! network and without writing.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use mapproxy_map::MapError;
use mapproxy_map::info::{InfoDocument, InfoKind, InfoTransform, without_doctype};

/// What is said where the program is missing.
pub(crate) const MISSING: &str =
    "the program xsltproc is not found: feature info cannot be transformed; on Debian, `apt install xsltproc`";

/// A transformation may not take longer.
const TIME_OUT: Duration = Duration::from_secs(10);
/// Bytes of the largest result.
const MAX_OUTPUT: u64 = 16 * 1024 * 1024;
/// Bytes of what the program says of errors.
const MAX_MESSAGES: u64 = 2000;

/// A stylesheet, and what it makes.
#[derive(Debug)]
pub(crate) struct Xslt {
    /// `None`: it is not there.
    program: Option<PathBuf>,
    stylesheet: PathBuf,
    /// Whose stylesheet it is, for errors.
    owner: Arc<str>,
    output: InfoKind,
}

/// A stylesheet that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{}: {reason}", stylesheet.display())]
pub(crate) struct StylesheetError {
    stylesheet: PathBuf,
    reason: String,
}

impl Xslt {
    pub(crate) fn new(stylesheet: PathBuf, owner: Arc<str>, output: InfoKind) -> Xslt {
        Xslt { program: program(), stylesheet, owner, output }
    }

    pub(crate) fn has_program(&self) -> bool {
        self.program.is_some()
    }

    /// The stylesheet can be read and compiled; what it makes of documents is another matter.
    pub(crate) fn check(&self) -> Result<(), StylesheetError> {
        let error = |reason: String| StylesheetError { stylesheet: self.stylesheet.clone(), reason };
        std::fs::File::open(&self.stylesheet).map_err(|cause| error(cause.to_string()))?;
        let Some(program) = &self.program else { return Ok(()) };
        match self.run(program, b"<x/>", false) {
            // xsltproc(1): the stylesheet cannot be parsed, or is wrong.
            Ok(Outcome { status, messages, .. }) if matches!(status.code(), Some(4 | 5)) => Err(error(messages)),
            Ok(_) => Ok(()),
            Err(reason) => Err(error(reason)),
        }
    }

    fn transform(&self, document: &InfoDocument) -> Result<String, String> {
        let program = self.program.as_deref().ok_or_else(|| MISSING.to_owned())?;
        let is_html = document.kind == InfoKind::Html;
        // The program would read the files that entities name, and the text in the encoding that its declaration names.
        let safe;
        let text = if is_html {
            document.text.as_str()
        } else {
            safe = without_doctype(&document.text).map_err(|error| error.to_string())?;
            without_declaration(&safe)
        };
        let Outcome { status, output, messages } = self.run(program, text.as_bytes(), is_html)?;
        if !status.success() {
            return Err(format!("{status}: {messages}"));
        }
        let text = String::from_utf8(output).map_err(|_| "the result is not UTF-8: see xsl:output".to_owned())?;
        Ok(without_declaration(&text).to_owned())
    }

    fn run(&self, program: &Path, input: &[u8], is_html: bool) -> Result<Outcome, String> {
        let mut command = Command::new(program);
        command.args(["--nonet", "--novalid", "--nowrite", "--nomkdir"]);
        if is_html {
            command.args(["--html", "--encoding", "utf-8"]);
        }
        // An absolute path is no option.
        let stylesheet = std::path::absolute(&self.stylesheet).map_err(|error| error.to_string())?;
        command.arg(stylesheet).arg("-");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(|error| format!("{}: {error}", program.display()))?;
        let outcome = converse(&mut child, input);
        if outcome.is_err() {
            // It may have ended by itself.
            let _ = child.kill();
            let _ = child.wait();
        }
        outcome
    }
}

impl InfoTransform for Xslt {
    /// Texts and JSON are no trees, and stay as they are.
    fn apply(&self, document: InfoDocument) -> Result<InfoDocument, MapError> {
        match document.kind {
            InfoKind::Text | InfoKind::Json => Ok(document),
            InfoKind::Html | InfoKind::Xml if document.is_empty() => Ok(document),
            InfoKind::Html | InfoKind::Xml => {
                let text = self.transform(&document).map_err(|reason| MapError::Transformation {
                    source_name: Arc::clone(&self.owner),
                    reason: format!("{}: {reason}", self.stylesheet.display()),
                })?;
                Ok(InfoDocument::new(self.output, text))
            }
        }
    }
}

struct Outcome {
    status: ExitStatus,
    output: Vec<u8>,
    messages: String,
}

/// Writes and reads all that is to be written and read, at the same time: pipes are short.
fn converse(child: &mut Child, input: &[u8]) -> Result<Outcome, String> {
    let deadline = Instant::now() + TIME_OUT;
    let streams = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let (Some(mut stdin), Some(stdout), Some(stderr)) = streams else { return Err("no pipes".to_owned()) };
    let (output_sender, output) = mpsc::channel();
    let (message_sender, messages) = mpsc::channel();
    let input = input.to_vec();
    // They end when the program does, which the caller sees to.
    let spawned = [
        spawn(move || {
            // A program that does not read to the end has its reasons, and says them.
            let _ = stdin.write_all(&input);
        }),
        spawn(move || {
            let _ = output_sender.send(read(stdout, MAX_OUTPUT));
        }),
        spawn(move || {
            let _ = message_sender.send(read(stderr, MAX_MESSAGES));
        }),
    ];
    spawned.into_iter().collect::<Result<(), String>>()?;
    let too_late = || format!("it took longer than {} s", TIME_OUT.as_secs());
    let left = || deadline.saturating_duration_since(Instant::now());
    let (output, is_whole) = output.recv_timeout(left()).map_err(|_| too_late())?;
    if !is_whole {
        return Err(format!("the result is longer than {MAX_OUTPUT} bytes"));
    }
    let (messages, _) = messages.recv_timeout(left()).map_err(|_| too_late())?;
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break status,
            Ok(None) if left().is_zero() => return Err(too_late()),
            // Its pipes are closed: it is about to end.
            Ok(None) => std::thread::sleep(Duration::from_millis(1)),
            Err(error) => return Err(error.to_string()),
        }
    };
    Ok(Outcome { status, output, messages: String::from_utf8_lossy(&messages).trim().to_owned() })
}

fn spawn(work: impl FnOnce() + Send + 'static) -> Result<(), String> {
    let thread = std::thread::Builder::new().name("xslt".to_owned()).spawn(work);
    thread.map(drop).map_err(|error| error.to_string())
}

/// What comes, up to a limit; the rest is read and dropped if it is not too much. Whether that was all.
fn read(mut from: impl Read, limit: u64) -> (Vec<u8>, bool) {
    let mut bytes = Vec::new();
    // What has come counts also where the rest did not.
    let _ = from.by_ref().take(limit).read_to_end(&mut bytes);
    let rest = std::io::copy(&mut from.take(MAX_OUTPUT), &mut std::io::sink()).unwrap_or(0);
    (bytes, rest == 0)
}

/// The first program called `xsltproc` in the `PATH`.
fn program() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|directory| directory.join("xsltproc")).find(|program| program.is_file())
}

fn without_declaration(text: &str) -> &str {
    let text = text.trim_start_matches('\u{feff}');
    match text.strip_prefix("<?xml").and_then(|rest| rest.split_once("?>")) {
        Some((_, rest)) => rest.trim_start(),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    const ROOT: &str = "<xsl:stylesheet version='1.0' xmlns:xsl='http://www.w3.org/1999/XSL/Transform'>\
                        <xsl:template match='/'><baz><xsl:value-of select='/a/b'/></baz></xsl:template></xsl:stylesheet>";

    /// A program of our own in the place of xsltproc: what is tested here is the handling of any program.
    fn with_program(script: &str) -> (tempfile::TempDir, Xslt) {
        let directory = tempfile::tempdir().unwrap();
        let program = directory.path().join("xsltproc");
        std::fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        let stylesheet = directory.path().join("in.xsl");
        std::fs::write(&stylesheet, ROOT).unwrap();
        let xslt = Xslt { program: Some(program), stylesheet, owner: "wms".into(), output: InfoKind::Xml };
        (directory, xslt)
    }

    fn apply(xslt: &Xslt, kind: InfoKind, text: &str) -> Result<(InfoKind, String), String> {
        let document = xslt.apply(InfoDocument::new(kind, text)).map_err(|error| error.to_string())?;
        Ok((document.kind, document.text))
    }

    #[test]
    fn the_program_gets_the_document_and_its_answer_counts() {
        let (_directory, xslt) =
            with_program("echo '<?xml version=\"1.0\"?>'; echo \"<args n='$#'>\"; cat; echo '</args>'");
        let (kind, text) = apply(&xslt, InfoKind::Xml, "<a>ä</a>").unwrap();
        assert_eq!((kind, text.as_str()), (InfoKind::Xml, "<args n='6'>\n<a>ä</a></args>\n"));
        let (_, text) = apply(&xslt, InfoKind::Xml, "<?xml version='1.0' encoding='UTF-7'?>\n<a>+ADw-</a>").unwrap();
        assert_eq!(text, "<args n='6'>\n<a>+ADw-</a></args>\n", "it is UTF-8");
        let (_, text) = apply(&xslt, InfoKind::Html, "<p>").unwrap();
        assert!(text.starts_with("<args n='9'>"), "{text}");
    }

    #[test]
    fn texts_pass_and_entities_do_not() {
        let (_directory, xslt) = with_program("cat");
        assert_eq!(apply(&xslt, InfoKind::Text, "t").unwrap(), (InfoKind::Text, "t".to_owned()));
        assert_eq!(apply(&xslt, InfoKind::Json, "{}").unwrap(), (InfoKind::Json, "{}".to_owned()));
        let bomb = "<!DOCTYPE a [<!ENTITY e SYSTEM 'file:///etc/passwd'>]><a>&e;</a>";
        assert!(apply(&xslt, InfoKind::Xml, bomb).unwrap_err().contains("document type"));
        let outside = "<!DOCTYPE a SYSTEM 'file:///etc/passwd'><a/>";
        assert_eq!(apply(&xslt, InfoKind::Xml, outside).unwrap().1, "<a/>");
    }

    #[test]
    fn failures_say_what_the_program_said() {
        let (_directory, xslt) = with_program("echo broken >&2; exit 6");
        let error = apply(&xslt, InfoKind::Xml, "<a>").unwrap_err();
        assert!(error.contains("wms: ") && error.contains("in.xsl") && error.ends_with("broken"), "{error}");
        assert!(xslt.check().is_ok(), "the stylesheet is not to blame");
        let (_directory, xslt) = with_program("echo wrong >&2; exit 5");
        assert!(xslt.check().unwrap_err().to_string().ends_with("in.xsl: wrong"));
        let nobody = Xslt { program: None, ..with_program("cat").1 };
        assert!(apply(&nobody, InfoKind::Xml, "<a/>").unwrap_err().contains("xsltproc"));
        assert!(nobody.check().unwrap_err().to_string().contains("No such file"));
    }

    #[test]
    fn a_program_that_writes_without_end_is_ended() {
        let (_directory, xslt) = with_program("cat >/dev/null; yes");
        let begun = Instant::now();
        assert!(apply(&xslt, InfoKind::Xml, "<a/>").unwrap_err().contains("longer than"));
        assert!(begun.elapsed() < TIME_OUT);
    }
}
