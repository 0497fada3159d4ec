//! One connection to the server, opened when needed and replaced when it breaks, and what is asked over it: scripts, each
//! of which happens as a whole or not at all.

use std::time::Duration;

use redis::{Client, Connection, ConnectionLike as _, ErrorKind, FromRedisValue, RedisError, ServerErrorKind, Value};

use super::QueueAddress;

/// Until a connection is there.
const CONNECT: Duration = Duration::from_secs(2);

/// For each question.
const ANSWER: Duration = Duration::from_secs(5);

/// A connection that one thread uses.
pub(super) struct Link {
    client: Client,
    connection: Option<Connection>,
}

/// Why there is no answer.
#[derive(Clone, Debug)]
pub(super) enum Trouble {
    /// The server is not there, or not ready; later it may be.
    Away(String),
    /// The run is not there any more: the server has lost it, or another one has begun.
    Gone,
    /// It will not get better.
    Refused(String),
}

/// What is asked: the texts of scripts, one behind the other.
pub(super) type Script = &'static str;

impl Link {
    /// Connects to nothing yet.
    pub(super) fn new(address: &QueueAddress) -> Result<Link, String> {
        Ok(Link { client: address.client()?, connection: None })
    }

    /// Runs a script with one key.
    pub(super) fn run<T: FromRedisValue>(
        &mut self,
        script: Script,
        key: &str,
        arguments: &[String],
    ) -> Result<T, Trouble> {
        let mut command = redis::cmd("EVAL");
        command.arg(script).arg(1).arg(key).arg(arguments);
        let answer = self.ask(&command)?;
        if matches!(&answer, Value::BulkString(text) if text == b"gone") {
            return Err(Trouble::Gone);
        }
        redis::from_redis_value(answer).map_err(|error| Trouble::Refused(format!("unexpected answer: {error}")))
    }

    /// Runs a command.
    pub(super) fn ask(&mut self, command: &redis::Cmd) -> Result<Value, Trouble> {
        let was_open = self.connection.is_some();
        let answer = self.try_ask(command);
        match answer {
            // Closed since it was last used: the server was restarted, say.
            Err(error) if was_open && error.is_connection_dropped() => {
                self.connection = None;
                self.try_ask(command)
            }
            answer => answer,
        }
        .map_err(|error| {
            if !matches!(error.kind(), ErrorKind::Server(_) | ErrorKind::Extension) {
                self.connection = None;
            }
            trouble(&error)
        })
    }

    fn try_ask(&mut self, command: &redis::Cmd) -> Result<Value, RedisError> {
        let connection = match &mut self.connection {
            Some(connection) => connection,
            none => {
                let connection = self.client.get_connection_with_timeout(CONNECT)?;
                connection.set_read_timeout(Some(ANSWER))?;
                connection.set_write_timeout(Some(ANSWER))?;
                none.insert(connection)
            }
        };
        connection.req_command(command)?.extract_error()
    }
}

fn trouble(error: &RedisError) -> Trouble {
    let reason = if error.is_timeout() { "no answer in time".to_owned() } else { error.to_string() };
    match error.kind() {
        _ if reason.contains("NOGROUP") => Trouble::Gone,
        ErrorKind::Server(
            ServerErrorKind::BusyLoading
            | ServerErrorKind::TryAgain
            | ServerErrorKind::ClusterDown
            | ServerErrorKind::MasterDown
            | ServerErrorKind::ReadOnly
            | ServerErrorKind::NotBusy,
        ) => Trouble::Away(reason),
        // Not known to the library by a kind: no memory left, a snapshot that cannot be written, a script that is busy.
        _ if ["OOM ", "MISCONF", "BUSY ", "-BUSY", "NOREPLICAS"].iter().any(|word| reason.contains(word)) => {
            Trouble::Away(reason)
        }
        ErrorKind::Server(_) | ErrorKind::Extension | ErrorKind::AuthenticationFailed => Trouble::Refused(reason),
        ErrorKind::InvalidClientConfig | ErrorKind::UnexpectedReturnType => Trouble::Refused(reason),
        _ => Trouble::Away(reason),
    }
}
