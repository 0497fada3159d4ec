//! Programs that answer question after question: started when needed, kept, and replaced when they fail.
//!
//! A question is a line on the program's input. An answer is a line `ok LENGTH` or `error LENGTH` on its output and as
//! many bytes behind it. A program that is late, ends, or answers anything else is killed.

use std::fmt;
use std::io::{self, Write as _};
use std::process::{Command, Stdio};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::process::{Came, Process};

/// Bytes of the longest question: what a pipe takes without anybody reading.
const MAX_QUESTION: usize = 60_000;
/// Bytes of the longest first line of an answer.
const MAX_LINE: usize = 64;
/// Bytes of the longest explanation of a failure.
const MAX_EXPLANATION: usize = 64 * 1024;

/// A number of equal programs.
pub struct Workers {
    command: Box<dyn Fn() -> Command + Send + Sync>,
    limit: usize,
    timeout: Duration,
    max_answer: usize,
    pool: Mutex<Pool>,
    finished: Condvar,
}

#[derive(Debug, Default)]
struct Pool {
    idle: Vec<Process>,
    busy: usize,
}

/// A question without an answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WorkerError {
    /// All programs had others to answer.
    #[error("waited {0} s for one of {1} workers")]
    Busy(f64, usize),
    /// The program cannot be started or spoken to.
    #[error("cannot be run: {0}")]
    Start(#[from] io::Error),
    /// It ended.
    #[error("ended unexpectedly ({0})")]
    Ended(String),
    /// It took too long.
    #[error("no answer within {0} s")]
    TimedOut(f64),
    /// It broke the rules of the conversation.
    #[error("answered what cannot be understood: {0}")]
    Nonsense(String),
    /// It said that it cannot answer, and why.
    #[error("{0}")]
    Refused(String),
}

impl Workers {
    /// At most `limit` programs at once, made by `command`. Who has no answer of at most `max_answer` bytes after
    /// `timeout` fails.
    pub fn new(
        limit: usize,
        timeout: Duration,
        max_answer: usize,
        command: impl Fn() -> Command + Send + Sync + 'static,
    ) -> Workers {
        let (pool, finished) = (Mutex::default(), Condvar::new());
        Workers { command: Box::new(command), limit: limit.max(1), timeout, max_answer, pool, finished }
    }

    /// Has `question`, which must be a single line, answered.
    pub fn ask(&self, question: &str) -> Result<Bytes, WorkerError> {
        if question.len() > MAX_QUESTION || question.contains('\n') {
            return Err(WorkerError::Nonsense(format!("a question of {} bytes", question.len())));
        }
        let deadline = Instant::now() + self.timeout;
        let (turn, kept) = self.take_turn(deadline)?;
        if let Some(worker) = kept {
            match self.converse(worker, question, deadline) {
                // It may have been killed while nobody needed it.
                Err(WorkerError::Ended(_)) => {}
                answer => return turn.end(answer),
            }
        }
        let worker = self.start()?;
        turn.end(self.converse(worker, question, deadline))
    }

    fn start(&self) -> io::Result<Process> {
        Process::spawn((self.command)().stdin(Stdio::piped()))
    }

    fn take_turn(&self, deadline: Instant) -> Result<(Turn<'_>, Option<Process>), WorkerError> {
        let pool = self.pool.lock().unwrap_or_else(PoisonError::into_inner);
        let left = deadline.saturating_duration_since(Instant::now());
        let (mut pool, _) = self
            .finished
            .wait_timeout_while(pool, left, |pool| pool.busy >= self.limit)
            .unwrap_or_else(PoisonError::into_inner);
        if pool.busy >= self.limit {
            return Err(WorkerError::Busy(self.timeout.as_secs_f64(), self.limit));
        }
        pool.busy += 1;
        let kept = pool.idle.pop();
        Ok((Turn(self), kept))
    }

    /// The answer, and the worker if it can be asked again.
    fn converse(
        &self,
        mut worker: Process,
        question: &str,
        deadline: Instant,
    ) -> Result<(Result<Bytes, WorkerError>, Process), WorkerError> {
        let line = format!("{question}\n");
        let written = worker.stdin.as_mut().map_or(Ok(()), |stdin| stdin.write_all(line.as_bytes()));
        if written.is_err() {
            return Err(self.ended(worker));
        }
        let mut output = Vec::new();
        let mut head = None;
        loop {
            if head.is_none() {
                head = first_line(&output)?;
            }
            if let Some((is_ok, length, start)) = head {
                let limit = if is_ok { self.max_answer } else { MAX_EXPLANATION };
                if length > limit || output.len() > start + length {
                    return Err(WorkerError::Nonsense(format!("{length} bytes announced, {limit} are allowed")));
                }
                if output.len() == start + length {
                    let answer = Bytes::from(output).slice(start..);
                    let answer = match is_ok {
                        true => Ok(answer),
                        false => Err(WorkerError::Refused(String::from_utf8_lossy(&answer).into_owned())),
                    };
                    return Ok((answer, worker));
                }
                output.reserve_exact(start + length - output.len());
            }
            match worker.read(&mut output, deadline)? {
                Came::Bytes(_) => {}
                Came::End => return Err(self.ended(worker)),
                Came::Nothing => return Err(WorkerError::TimedOut(self.timeout.as_secs_f64())),
            }
        }
    }

    fn ended(&self, mut worker: Process) -> WorkerError {
        let status = worker.wait(Instant::now() + Duration::from_secs(1));
        let status = status.ok().flatten().map_or("its output is closed".to_owned(), |status| status.to_string());
        let messages = worker.messages();
        WorkerError::Ended(if messages.is_empty() { status } else { format!("{status}: {messages}") })
    }
}

/// `ok LENGTH` or `error LENGTH`, and where what follows begins; `None` if the line is not there yet.
fn first_line(output: &[u8]) -> Result<Option<(bool, usize, usize)>, WorkerError> {
    let nonsense = || WorkerError::Nonsense(String::from_utf8_lossy(&output[..output.len().min(200)]).into_owned());
    let Some(end) = output.iter().take(MAX_LINE).position(|byte| *byte == b'\n') else {
        return if output.len() < MAX_LINE { Ok(None) } else { Err(nonsense()) };
    };
    let line = std::str::from_utf8(&output[..end]).map_err(|_| nonsense())?;
    let (word, length) = line.split_once(' ').ok_or_else(nonsense)?;
    let length = length.parse().map_err(|_| nonsense())?;
    match word {
        "ok" => Ok(Some((true, length, end + 1))),
        "error" => Ok(Some((false, length, end + 1))),
        _ => Err(nonsense()),
    }
}

/// Our place among those that are answered.
struct Turn<'a>(&'a Workers);

impl Turn<'_> {
    /// Keeps the worker for the next.
    fn end(self, answer: Result<(Result<Bytes, WorkerError>, Process), WorkerError>) -> Result<Bytes, WorkerError> {
        let (answer, worker) = answer?;
        self.0.pool.lock().unwrap_or_else(PoisonError::into_inner).idle.push(worker);
        answer
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.pool.lock().unwrap_or_else(PoisonError::into_inner).busy -= 1;
        self.0.finished.notify_one();
    }
}

impl fmt::Debug for Workers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Workers(at most {})", self.limit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fan_out;

    fn shell(limit: usize, lines: &'static str) -> Workers {
        Workers::new(limit, Duration::from_secs(20), 1000, move || {
            let mut command = Command::new("/bin/sh");
            command.args(["-c", lines]);
            command
        })
    }

    /// Says which process answers, then what was asked.
    const ECHO: &str = r#"while read -r line; do text="$$ $line"; printf 'ok %d\n%s' ${#text} "$text"; done"#;

    fn text(answer: Result<Bytes, WorkerError>) -> String {
        String::from_utf8(answer.unwrap().to_vec()).unwrap()
    }

    #[test]
    fn one_program_answers_many_questions() {
        let workers = shell(1, ECHO);
        let answers: Vec<String> = ["a", "b c", ""].iter().map(|question| text(workers.ask(question))).collect();
        let (first, _) = answers[0].split_once(' ').unwrap();
        assert_eq!(answers, [format!("{first} a"), format!("{first} b c"), format!("{first} ")]);
    }

    #[test]
    fn no_more_programs_run_than_allowed() {
        let workers = shell(2, ECHO);
        let jobs: Vec<String> = (0..40).map(|job| format!("job{job}")).collect();
        let answers = fan_out(&jobs, 8, |job| (job.clone(), text(workers.ask(job))));
        let mut processes = std::collections::BTreeSet::new();
        for (job, answer) in answers {
            let (process, question) = answer.split_once(' ').unwrap();
            assert_eq!(question, job);
            processes.insert(process.to_owned());
        }
        assert!(processes.len() <= 2, "{processes:?}");
    }

    #[test]
    fn a_program_that_ended_between_questions_is_replaced() {
        let workers = shell(1, r#"read -r line; printf 'ok 2\nhi'"#);
        for _ in 0..3 {
            assert_eq!(text(workers.ask("x")), "hi");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    #[test]
    fn a_program_that_dies_of_a_question_is_an_error_with_its_own_words() {
        let workers = shell(1, r#"read -r line; echo "no such font" >&2; exit 7"#);
        for _ in 0..2 {
            let error = workers.ask("x").unwrap_err().to_string();
            assert_eq!(error, "ended unexpectedly (exit status: 7: no such font)");
        }
    }

    #[test]
    fn refusals_are_errors_and_the_program_goes_on() {
        let workers = shell(1, r#"while read -r line; do printf 'error 8\nno layer'; done"#);
        for _ in 0..2 {
            assert!(matches!(workers.ask("x"), Err(WorkerError::Refused(why)) if why == "no layer"));
        }
    }

    #[test]
    fn late_programs_are_killed_and_replaced() {
        let workers = Workers::new(1, Duration::from_millis(200), 1000, || {
            let mut command = Command::new("/bin/sh");
            command
                .args(["-c", r#"while read -r line; do test "$line" = hang && sleep 1000; printf 'ok 2\nhi'; done"#]);
            command
        });
        assert!(matches!(workers.ask("hang"), Err(WorkerError::TimedOut(_))));
        assert_eq!(text(workers.ask("x")), "hi");
    }

    #[test]
    fn nonsense_and_too_much_are_refused() {
        for (lines, expected) in [
            ("read -r l; echo what; cat", "answered what"),
            ("read -r l; head -c 100000 /dev/zero; cat", "answered what"),
            ("read -r l; echo ok 1001; cat", "1001 bytes announced"),
            ("read -r l; echo ok -1; cat", "answered what"),
            ("read -r l; printf 'ok 1\\nab'; cat", "1 bytes announced"),
            ("exec /nowhere/program", "ended unexpectedly"),
        ] {
            let error = shell(1, lines).ask("x").unwrap_err().to_string();
            assert!(error.contains(expected), "{error:?} of {lines:?}");
        }
        let missing = Workers::new(1, Duration::from_secs(1), 1, || Command::new("/nowhere/program"));
        assert!(matches!(missing.ask("x"), Err(WorkerError::Start(_))));
        assert!(matches!(shell(1, ECHO).ask("two\nlines"), Err(WorkerError::Nonsense(_))));
    }
}
