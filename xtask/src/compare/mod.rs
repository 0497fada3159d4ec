//! `cargo xtask compare-with-mapproxy`: asks MapProxy 7.0.0 and this program the same questions and reports differences.
//!
//! Both serve the configurations of `tests/compare` from folders of their own, with one map server behind them that
//! remembers what each of them asked. Answers are compared as clients see them: status, headers, pictures by their
//! pixels, XML and JSON by what they say. A difference that is meant names its cause beside the question; the run fails
//! on differences that have none, and on causes that no longer show.

mod differences;
mod questions;
mod upstream;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use self::differences::{Answer, HEADERS, Tolerance, differences};
use self::questions::{Case, Question};
use self::upstream::Upstream;
use crate::http::Connection;
use crate::server::Server;
use crate::workspace;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Command of MapProxy 7.0.0's mapproxy-util; without one it is installed from PyPI below the target directory
    #[arg(long, value_name = "CMD")]
    reference: Option<String>,
    /// Command of the mapproxy-util to compare, instead of the one built here
    #[arg(long, value_name = "CMD")]
    server: Option<String>,
    /// Only cases whose names contain this
    filter: Option<String>,
    /// Report lossless pictures below this PSNR (dB)
    #[arg(long, default_value_t = 40.0)]
    psnr: f64,
    /// Report lossy pictures below this PSNR (dB)
    #[arg(long, default_value_t = 32.0)]
    lossy_psnr: f64,
    /// Report pictures with a palette below this PSNR (dB)
    #[arg(long, default_value_t = 24.0)]
    paletted_psnr: f64,
    /// Show the differences whose causes are known, too
    #[arg(long)]
    all: bool,
    /// Keep the servers of each case running until Enter, to be looked at
    #[arg(long)]
    hold: bool,
}

/// Who is asked, in the order of asking.
const REFERENCE: &str = "reference";
const OURS: &str = "ours";

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let cases_folder = workspace::root().join("tests/compare");
    let causes = questions::causes(&cases_folder)?;
    let cases = questions::cases(&cases_folder, arguments.filter.as_deref(), &causes)?;
    let folder = workspace::target_directory()?.join("compare");
    let reference = match &arguments.reference {
        Some(command) => command.clone(),
        None => install_reference(&folder.join("venv"))?,
    };
    let ours = match &arguments.server {
        Some(command) => command.clone(),
        None => workspace::build_program()?.display().to_string(),
    };
    let upstream = Upstream::start()?;
    for name in [REFERENCE, OURS] {
        write_cases(&cases, &folder.join(name), &format!("http://127.0.0.1:{}/{name}", upstream.port))?;
    }
    // A process for each case: the reference keeps some state of its services for the whole process.
    let start = |name: &str, command: &str, case: &Case| {
        let config = folder.join(name).join(&case.name).with_extension("yaml");
        let log = config.with_extension("log");
        let server = Server::start(command, "serve-develop", &config, File::create(&log)?.into());
        server.with_context(|| format!("{name} does not serve {}, see {}", case.name, log.display()))
    };
    let tolerance =
        Tolerance { lossless: arguments.psnr, lossy: arguments.lossy_psnr, paletted: arguments.paletted_psnr };

    let answers = folder.join("answers");
    empty(&answers)?;
    println!("answers that differ are kept in {}", answers.display());
    let mut tally = Tally::default();
    for case in &cases {
        let servers = (start(REFERENCE, &reference, case)?, start(OURS, &ours, case)?);
        for (number, question) in case.questions.iter().enumerate() {
            let expected = ask(&servers.0, &upstream, REFERENCE, question)?;
            let found = ask(&servers.1, &upstream, OURS, question)?;
            let differences = differences(&expected, &found, tolerance);
            let shown = tally.count(case, question, !differences.is_empty());
            if shown || (arguments.all && !differences.is_empty()) {
                let cause = question.cause.as_ref().map_or(String::new(), |cause| format!("{cause}: "));
                println!("{} {number}: {cause}{}", case.name, question.path);
                for (who, answer) in [(REFERENCE, &expected), (OURS, &found)] {
                    fs::write(answers.join(format!("{}-{number}-{who}", case.name)), &answer.body)?;
                }
                differences.iter().for_each(|difference| println!("    {difference}"));
            }
        }
    }
    tally.report(cases.len(), &causes)
}

/// MapProxy 7.0.0 in a virtual environment of Python.
fn install_reference(venv: &Path) -> Result<String> {
    let program = venv.join("bin/mapproxy-util");
    if !program.exists() {
        workspace::run(Command::new("python3").args(["-m", "venv"]).arg(venv))?;
        let packages = ["MapProxy==7.0.0", "setuptools<81"];
        workspace::run(Command::new(venv.join("bin/pip")).args(["install", "--quiet"]).args(packages))?;
    }
    Ok(program.display().to_string())
}

/// Writes the configurations into an empty `folder`, each with a cache folder of its own.
fn write_cases(cases: &[Case], folder: &Path, upstream: &str) -> Result<()> {
    empty(folder)?;
    for case in cases {
        let text = fs::read_to_string(&case.config)?;
        ensure!(text.contains("@CACHE@"), "{}: no @CACHE@, where the cache folder belongs", case.config.display());
        let cache: PathBuf = folder.join("caches").join(&case.name);
        let data = case.config.with_file_name("data");
        let text = text
            .replace("@UPSTREAM@", upstream)
            .replace("@CACHE@", &cache.display().to_string())
            .replace("@DATA@", &data.display().to_string());
        fs::write(folder.join(&case.name).with_extension("yaml"), text)?;
    }
    Ok(())
}

fn empty(folder: &Path) -> Result<()> {
    if folder.exists() {
        fs::remove_dir_all(folder).with_context(|| format!("cannot empty {}", folder.display()))?;
    }
    fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))
}

fn ask(server: &Server, upstream: &Upstream, who: &str, question: &Question) -> Result<Answer> {
    let port = server.port;
    let mut connection = Connection::open(port)?;
    let path = &question.path;
    connection
        .ask(&format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n"))
        .with_context(|| format!("no answer to {path}"))?;
    // What names the programs themselves or their folders is not to be compared.
    let local = format!("127.0.0.1:{port}");
    let source = format!("127.0.0.1:{}/{who}", upstream.port);
    let neutral = |text: &str| text.replace(&local, "HOST").replace(&source, "SOURCE");
    let header = |&name: &&str| Some((name.to_owned(), neutral(&connection.header(name)?)));
    let headers = HEADERS.iter().filter_map(header).collect();
    let body = match std::str::from_utf8(connection.body()) {
        Ok(text) => neutral(text).into_bytes(),
        Err(_) => connection.body().to_vec(),
    };
    Ok(Answer { status: connection.status(), headers, body, asked: upstream.take(who) })
}

/// What came of the questions.
#[derive(Debug, Default)]
struct Tally {
    asked: usize,
    /// Questions answered differently for no known cause, and those answered alike in spite of one.
    surprises: Vec<String>,
    by_cause: BTreeMap<String, usize>,
}

impl Tally {
    /// Counts a question; whether its answer is a surprise.
    fn count(&mut self, case: &Case, question: &Question, differs: bool) -> bool {
        self.asked += 1;
        match (&question.cause, differs) {
            (None, false) => false,
            (Some(cause), true) => {
                *self.by_cause.entry(cause.clone()).or_default() += 1;
                false
            }
            (None, true) => {
                self.surprises.push(format!("{}: {}", case.name, question.path));
                true
            }
            (Some(cause), false) => {
                self.surprises.push(format!("{}: no longer {cause}: {}", case.name, question.path));
                true
            }
        }
    }

    fn report(&self, cases: usize, causes: &BTreeMap<String, String>) -> Result<()> {
        let known: usize = self.by_cause.values().sum();
        let same = self.asked - known - self.surprises.len();
        let mut report = format!("{cases} configurations, {} questions: {same} answered alike\n", self.asked);
        for (cause, count) in &self.by_cause {
            let reason = causes.get(cause).map_or("", String::as_str);
            writeln!(report, "{count:5} differ: {cause}: {reason}")?;
        }
        print!("{report}");
        if !self.surprises.is_empty() {
            bail!("{} answers differ for no known cause, or no longer", self.surprises.len());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_without_a_cause_and_causes_without_a_difference_fail() {
        let case = Case { name: "a".into(), config: PathBuf::new(), questions: Vec::new() };
        let question = |cause: Option<&str>| Question { path: "/".into(), cause: cause.map(Into::into) };
        let fails = |cause: Option<&str>, differs| {
            let mut tally = Tally::default();
            tally.count(&case, &question(cause), differs);
            tally.report(1, &BTreeMap::new()).is_err()
        };
        assert_eq!([fails(None, false), fails(Some("c"), true)], [false, false]);
        assert_eq!([fails(None, true), fails(Some("c"), false)], [true, true]);
    }
}
