//! Programs that answer in place of a server, by the Common Gateway Interface (RFC 3875).
//!
//! Each request runs the program once, in a process group of its own that ends with it: in time, with bounded output.

use std::env;
use std::ffi::OsStr;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::note::note;
use crate::process::{Came, Process};
use crate::{ClientError, ErrorKind, HttpClient, Method, RedactedUrl, UpstreamRequest, UpstreamResponse};

/// Bytes of the largest head of an answer.
const MAX_HEAD: usize = 64 * 1024;

/// Variables of the environment that say something of a request to us; those beginning with `HTTP_` are its headers,
/// with `SERVER_` and `REDIRECT_` of its server.
const OF_REQUESTS: [&str; 16] = [
    "AUTH_TYPE",
    "CONTENT_LENGTH",
    "CONTENT_TYPE",
    "DOCUMENT_ROOT",
    "GATEWAY_INTERFACE",
    "PATH_INFO",
    "PATH_TRANSLATED",
    "QUERY_STRING",
    "REMOTE_ADDR",
    "REMOTE_HOST",
    "REMOTE_IDENT",
    "REMOTE_USER",
    "REQUEST_METHOD",
    "REQUEST_URI",
    "SCRIPT_FILENAME",
    "SCRIPT_NAME",
];

/// Runs a program for each request: the part of the URL behind [`CgiClient::url`] is its query.
#[derive(Debug)]
pub struct CgiClient {
    program: PathBuf,
    url: String,
    directory: PathBuf,
    timeout: Duration,
    max_body: u64,
}

/// A program that cannot be run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CgiSetupError {
    /// It is not there, or no program.
    #[error("cannot run '{}': {reason}", program.display())]
    Program {
        /// The program.
        program: PathBuf,
        /// Why not.
        reason: String,
    },
    /// There is no directory to run it in.
    #[error("working directory '{}': {reason}", directory.display())]
    Directory {
        /// The directory.
        directory: PathBuf,
        /// Why not.
        reason: String,
    },
}

impl CgiClient {
    /// Runs `program` in `directory`, for no longer than `timeout`, and takes at most `max_body` bytes from it.
    pub fn new(
        program: PathBuf,
        directory: PathBuf,
        timeout: Duration,
        max_body: u64,
    ) -> Result<CgiClient, CgiSetupError> {
        let failed = |reason: String| CgiSetupError::Program { program: program.clone(), reason };
        let facts = program.metadata().map_err(|error| failed(error.to_string()))?;
        if !facts.is_file() {
            return Err(failed("it is no file".to_owned()));
        }
        if facts.permissions().mode() & 0o111 == 0 {
            return Err(failed("it is not executable".to_owned()));
        }
        let failed = |reason: String| CgiSetupError::Directory { directory: directory.clone(), reason };
        if !directory.metadata().map_err(|error| failed(error.to_string()))?.is_dir() {
            return Err(failed("it is no directory".to_owned()));
        }
        let url = Self::url(&program);
        Ok(CgiClient { program, url, directory, timeout, max_body })
    }

    /// What requests to a program begin with: `mapserver:///usr/bin/mapserv`.
    pub fn url(program: &Path) -> String {
        format!("mapserver://{}", program.display())
    }

    fn answer(&self, request: &UpstreamRequest) -> Result<UpstreamResponse, ClientError> {
        let fail = |kind, reason: String| ClientError::new(kind, RedactedUrl::new(&request.url), reason);
        if request.method != Method::Get {
            return Err(fail(ErrorKind::Local, "programs are asked by GET only".to_owned()));
        }
        let query = request.url.strip_prefix(&self.url).map(|rest| rest.trim_start_matches(['?', '&']));
        let query = query.ok_or_else(|| fail(ErrorKind::InvalidUrl, format!("{} is run here", self.url)))?;
        let output = self.run(query).map_err(|(kind, reason)| fail(kind, reason))?;
        let response = cgi_response(output).map_err(|reason| fail(ErrorKind::Program, reason))?;
        match response.status {
            200..400 if response.status != 204 => Ok(response),
            status => Err(ClientError {
                answer: response.body[..response.body.len().min(16 * 1024)].into(),
                ..fail(ErrorKind::Status(status), status.to_string())
            }),
        }
    }

    fn run(&self, query: &str) -> Result<Bytes, (ErrorKind, String)> {
        let deadline = Instant::now() + self.timeout;
        let local = |error: io::Error| (ErrorKind::Local, error.to_string());
        let mut process = Process::spawn(&mut self.command(query)).map_err(local)?;
        let too_late = || (ErrorKind::Timeout, format!("no answer within {} s", self.timeout.as_secs_f64()));
        let mut output = Vec::with_capacity(64 * 1024);
        loop {
            match process.read(&mut output, deadline).map_err(local)? {
                Came::Bytes(_) if (output.len() as u64) > self.max_body.saturating_add(MAX_HEAD as u64) => {
                    return Err((ErrorKind::TooLarge, format!("more than {} bytes", self.max_body)));
                }
                Came::Bytes(_) => {}
                Came::End => break,
                Came::Nothing => return Err(too_late()),
            }
        }
        let status = process.wait(deadline).map_err(local)?.ok_or_else(too_late)?;
        let messages = process.messages();
        if !status.success() {
            let said = if messages.is_empty() { String::new() } else { format!(": {messages}") };
            return Err((ErrorKind::Program, format!("{status}{said}")));
        }
        if !messages.is_empty() {
            log::info!(target: "mapproxy.source.mapserver", "{}: {messages}", self.program.display());
        }
        Ok(output.into())
    }

    fn command(&self, query: &str) -> Command {
        let mut command = Command::new(&self.program);
        command.current_dir(&self.directory).stdin(Stdio::null());
        for (name, _) in env::vars_os().filter(|(name, _)| is_of_a_request(name)) {
            command.env_remove(name);
        }
        command.env("QUERY_STRING", query).env("REQUEST_METHOD", "GET").env("GATEWAY_INTERFACE", "CGI/1.1");
        command.env("SERVER_ADDR", "127.0.0.1").env("SERVER_NAME", "localhost").env("SERVER_PROTOCOL", "HTTP/1.0");
        command.env("SERVER_SOFTWARE", "MapProxy");
        command
    }
}

impl HttpClient for CgiClient {
    fn send(&self, request: &UpstreamRequest) -> Result<UpstreamResponse, ClientError> {
        let started = Instant::now();
        let answer = self.answer(request);
        note(request, "CGI", started, &answer);
        answer
    }
}

/// The first program called `name` in the `PATH`.
pub fn program_in_path(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    env::split_paths(&path).map(|directory| directory.join(name)).find(|program| program.is_file())
}

/// What a program answered: a head, an empty line, a body. Lines of the head end with LF or CRLF. The error says what
/// is wrong with it.
pub fn cgi_response(output: Bytes) -> Result<UpstreamResponse, String> {
    let no_head = || {
        let start = String::from_utf8_lossy(&output[..output.len().min(200)]);
        format!("the output does not begin with headers and an empty line, but with '{}'", start.trim())
    };
    let (head_end, body_start) = head(&output).ok_or_else(no_head)?;
    let mut headers = Vec::new();
    for line in String::from_utf8_lossy(&output[..head_end]).lines() {
        let (name, value) = line.split_once(':').ok_or_else(no_head)?;
        headers.push((name.trim().to_ascii_lowercase(), value.trim().to_owned()));
    }
    let header = |wanted: &str| headers.iter().find(|(name, _)| name == wanted).map(|(_, value)| value.clone());
    let status = match header("status") {
        None => 200,
        Some(status) => {
            let number = status.split_whitespace().next().and_then(|number| number.parse().ok());
            number.filter(|number| (100..600).contains(number)).ok_or_else(|| format!("'{status}' is no status"))?
        }
    };
    Ok(UpstreamResponse { status, content_type: header("content-type"), headers, body: output.slice(body_start..) })
}

/// Where the head ends, and where the body begins.
fn head(output: &[u8]) -> Option<(usize, usize)> {
    let start = &output[..output.len().min(MAX_HEAD)];
    let mut at = 0;
    while let Some(end) = start[at..].iter().position(|byte| *byte == b'\n').map(|line| at + line) {
        match &start[end + 1..] {
            [b'\n', ..] => return Some((end, end + 2)),
            [b'\r', b'\n', ..] => return Some((end, end + 3)),
            _ => at = end + 1,
        }
    }
    None
}

fn is_of_a_request(name: &OsStr) -> bool {
    let name = name.to_string_lossy();
    ["HTTP_", "SERVER_", "REDIRECT_"].iter().any(|prefix| name.starts_with(prefix)) || OF_REQUESTS.contains(&&*name)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// A program of these lines of shell in a directory of its own.
    fn script(lines: &str) -> (tempfile::TempDir, PathBuf) {
        let directory = tempfile::tempdir().unwrap();
        let program = directory.path().join("mapserv");
        fs::write(&program, format!("#!/bin/sh\n{lines}\n")).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        (directory, program)
    }

    fn client(directory: &Path, program: &Path) -> CgiClient {
        CgiClient::new(program.to_owned(), directory.to_owned(), Duration::from_secs(20), 1000).unwrap()
    }

    fn ask(client: &CgiClient, program: &Path) -> Result<UpstreamResponse, ClientError> {
        client.send(&UpstreamRequest::get(format!("{}?map=a&layers=b", CgiClient::url(program))))
    }

    #[test]
    fn the_program_sees_its_query_and_no_request_but_this() {
        let (directory, program) = script("printf 'Content-Type: text/plain\\n\\n'; pwd; env | sort; echo \"args $#\"");
        let response = ask(&client(directory.path(), &program), &program).unwrap();
        assert_eq!(response.content_type.as_deref(), Some("text/plain"));
        let text = String::from_utf8(response.body.to_vec()).unwrap();
        let here = directory.path().canonicalize().unwrap();
        assert!(text.starts_with(here.to_str().unwrap()), "{text}");
        let of_request: Vec<&str> =
            text.lines().filter(|line| is_of_a_request(OsStr::new(line.split('=').next().unwrap()))).collect();
        assert_eq!(
            of_request,
            [
                "GATEWAY_INTERFACE=CGI/1.1",
                "QUERY_STRING=map=a&layers=b",
                "REQUEST_METHOD=GET",
                "SERVER_ADDR=127.0.0.1",
                "SERVER_NAME=localhost",
                "SERVER_PROTOCOL=HTTP/1.0",
                "SERVER_SOFTWARE=MapProxy",
            ]
        );
        assert!(text.ends_with("args 0\n") && text.contains("\nPATH="), "{text}");
    }

    #[test]
    fn headers_of_requests_are_told_from_the_rest() {
        for name in ["HTTP_PROXY", "HTTP_COOKIE", "CONTENT_LENGTH", "SERVER_PORT", "SCRIPT_NAME", "REMOTE_USER"] {
            assert!(is_of_a_request(OsStr::new(name)), "{name}");
        }
        for name in ["http_proxy", "PATH", "MS_MAPFILE", "PROJ_DATA", "HTTPX"] {
            assert!(!is_of_a_request(OsStr::new(name)), "{name}");
        }
    }

    #[test]
    fn a_failing_program_is_an_error_with_its_own_words() {
        let (directory, program) =
            script("echo 'Content-Type: image/png'; echo; echo half; echo 'no font' >&2; exit 3");
        let error = ask(&client(directory.path(), &program), &program).unwrap_err();
        assert_eq!((error.kind, error.message), (ErrorKind::Program, "Error during CGI call"));
        assert_eq!(error.reason, "exit status: 3: no font");
    }

    #[test]
    fn a_hanging_program_ends_with_all_that_it_started() {
        let (directory, program) = script("sleep 1234 & echo $! > child; echo $$ > self; sleep 1234");
        // Time enough for the script to say whom it has started, on a machine that is at other things, too.
        let timeout = Duration::from_millis(2500);
        let client = CgiClient::new(program.clone(), directory.path().to_owned(), timeout, 1000).unwrap();
        let started = Instant::now();
        let error = ask(&client, &program).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Timeout);
        assert!(error.reason.contains("2.5 s"), "{}", error.reason);
        assert!(started.elapsed() < Duration::from_secs(60));
        for file in ["child", "self"] {
            let id = fs::read_to_string(directory.path().join(file)).unwrap();
            // A zombie that nobody has waited for yet does not run any more.
            let deadline = Instant::now() + Duration::from_secs(5);
            let runs = || {
                let state = fs::read_to_string(format!("/proc/{}/stat", id.trim())).unwrap_or_default();
                state.rsplit_once(')').is_some_and(|(_, rest)| !rest.trim_start().starts_with('Z'))
            };
            while runs() {
                assert!(Instant::now() < deadline, "{file} runs on");
                std::thread::sleep(Duration::from_millis(5));
            }
        }
    }

    #[test]
    fn endless_output_is_cut_off() {
        let (directory, program) = script("echo; yes");
        let error = ask(&client(directory.path(), &program), &program).unwrap_err();
        assert_eq!(error.kind, ErrorKind::TooLarge);
    }

    #[test]
    fn much_is_said_on_both_sides_without_a_deadlock() {
        let (directory, program) = script(
            "printf 'Content-Type: a\\n\\n'; head -c 200000 /dev/zero >&2; printf x; head -c 300000 /dev/zero >&2; printf y",
        );
        let response = ask(&client(directory.path(), &program), &program).unwrap();
        assert_eq!(&response.body[..], b"xy");
    }

    #[test]
    fn a_missing_program_or_directory_is_told_at_once() {
        let (directory, program) = script("true");
        let new = |program: &Path, directory: &Path| {
            CgiClient::new(program.to_owned(), directory.to_owned(), Duration::from_secs(1), 1).map(|_| ())
        };
        let said = |result: Result<(), CgiSetupError>| result.unwrap_err().to_string();
        let missing = directory.path().join("nowhere");
        let told = format!("cannot run '{}': ", missing.display());
        assert!(said(new(&missing, directory.path())).starts_with(&told));
        assert!(said(new(directory.path(), directory.path())).contains("no file"));
        assert!(said(new(&program, &missing)).starts_with(&format!("working directory '{}': ", missing.display())));
        fs::set_permissions(&program, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(said(new(&program, directory.path())).contains("not executable"));
    }

    #[test]
    fn heads_end_with_an_empty_line_of_either_kind() {
        for (output, status, content_type, body) in [
            ("Content-type: image/png\r\n\r\n\n\nx", 200, Some("image/png"), "\n\nx"),
            ("Content-Type:image/png\n\n", 200, Some("image/png"), ""),
            ("Status: 404 Not Found\nA: b\r\n\nno", 404, None, "no"),
            ("X: y\r\n\r\nbody", 200, None, "body"),
        ] {
            let response = cgi_response(Bytes::from(output)).unwrap();
            assert_eq!((response.status, response.content_type.as_deref()), (status, content_type), "{output:?}");
            assert_eq!(response.body, body);
        }
        for output in ["", "garbage", "A: b\n", "no colon\n\nbody", "Status: soon\n\n", "Status: 99999\n\n"] {
            assert!(cgi_response(Bytes::from(output)).is_err(), "{output:?}");
        }
    }

    #[test]
    fn a_status_of_failure_is_one() {
        let (directory, program) = script("printf 'Status: 500 Broken\\n\\nwhy'");
        let error = ask(&client(directory.path(), &program), &program).unwrap_err();
        assert_eq!((error.kind, &error.answer[..]), (ErrorKind::Status(500), b"why".as_slice()));
    }
}
