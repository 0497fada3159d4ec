//! Connections to one Redis server: opened when needed, kept, bounded in number, replaced when they break.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use redis::{Client, Connection, ErrorKind, Pipeline, RedisError, RedisResult, Value};

use crate::store::presence::Failure;

/// Connections open at once; more requests than that wait for each other.
const MOST: usize = 16;

/// Until a connection is there, and the server has accepted us. Redis answers in less than a millisecond.
const CONNECT: Duration = Duration::from_secs(2);

/// For each command, until the answer begins, and between any two pieces of it. That of MapProxy's own client.
const ANSWER: Duration = Duration::from_secs(5);

/// Open connections to a server.
pub(super) struct Pool {
    client: Client,
    state: Mutex<State>,
    returned: Condvar,
}

#[derive(Default)]
struct State {
    idle: Vec<Connection>,
    open: usize,
}

/// A connection on loan. One that was not said to be whole is closed.
struct Loan<'a> {
    pool: &'a Pool,
    connection: Option<Connection>,
    is_whole: bool,
}

impl Pool {
    pub(super) fn new(client: Client) -> Self {
        Pool { client, state: Mutex::default(), returned: Condvar::new() }
    }

    /// Asks over a connection. One that the server has closed since it was last used (it was restarted, say) is
    /// replaced once.
    pub(super) fn ask(&self, commands: &Pipeline) -> Result<Vec<Value>, Failure> {
        let (mut loan, was_idle) = self.take()?;
        let answer = match loan.ask(commands) {
            Err(error) if was_idle && error.is_connection_dropped() => {
                drop(loan);
                // The others are as old.
                self.close_idle();
                loan = self.take()?.0;
                loan.ask(commands)
            }
            answer => answer,
        };
        answer.map_err(|error| failure(&error))
    }

    fn take(&self) -> Result<(Loan<'_>, bool), Failure> {
        let deadline = Instant::now() + ANSWER;
        let mut state = self.lock();
        loop {
            if let Some(connection) = state.idle.pop() {
                return Ok((Loan { pool: self, connection: Some(connection), is_whole: false }, true));
            }
            if state.open < MOST {
                state.open += 1;
                drop(state);
                let mut loan = Loan { pool: self, connection: None, is_whole: false };
                loan.connection = Some(self.connect().map_err(|error| failure(&error))?);
                return Ok((loan, false));
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(Failure::Away(format!("all {MOST} connections were busy for {ANSWER:?}")));
            }
            state = self.returned.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn connect(&self) -> RedisResult<Connection> {
        let connection = self.client.get_connection_with_timeout(CONNECT)?;
        connection.set_read_timeout(Some(ANSWER))?;
        connection.set_write_timeout(Some(ANSWER))?;
        Ok(connection)
    }

    fn close_idle(&self) {
        let mut state = self.lock();
        state.open -= state.idle.len();
        let closed = std::mem::take(&mut state.idle);
        drop(state);
        drop(closed);
        self.returned.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Loan<'_> {
    fn ask(&mut self, commands: &Pipeline) -> RedisResult<Vec<Value>> {
        let connection = self.connection.as_mut().expect("a loan has a connection until it is returned");
        let answers = exchange(connection, commands)?;
        // After a failure in the middle of an answer, what comes next belongs to nobody; this one is complete.
        self.is_whole = true;
        answers.into_iter().map(Value::extract_error).collect()
    }
}

/// Sends commands and reads their answers, those that are errors included. Unlike the library's own it ends with the
/// first answer that does not come, instead of waiting for each of the others as long.
fn exchange(connection: &mut Connection, commands: &Pipeline) -> RedisResult<Vec<Value>> {
    connection.send_packed_command(&commands.get_packed_pipeline())?;
    (0..commands.len()).map(|_| connection.recv_response()).collect()
}

impl Drop for Loan<'_> {
    fn drop(&mut self) {
        let mut state = self.pool.lock();
        match self.connection.take().filter(|_| self.is_whole) {
            Some(connection) => state.idle.push(connection),
            None => state.open -= 1,
        }
        drop(state);
        self.pool.returned.notify_one();
    }
}

/// A server that answers is there, whatever it says. One that does not let us in might as well be away.
fn failure(error: &RedisError) -> Failure {
    let reason = if error.is_timeout() { "no answer in time".to_owned() } else { error.to_string() };
    match error.kind() {
        ErrorKind::Server(_) | ErrorKind::Extension => Failure::Refused(reason),
        _ => Failure::Away(reason),
    }
}
