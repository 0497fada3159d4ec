//! Requests to services of objects: tried again where that may help, and not sent to who does not answer.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use mapproxy_client::{ClientError, ErrorKind, Peer, UpstreamRequest, UpstreamResponse};

use super::Connection;

/// How long a service that did not answer is left alone.
const REST: Duration = Duration::from_secs(1);

/// How often a request is sent at most, and how long before the second time; three times as long before each other.
const TRIES: u32 = 4;
const FIRST_PAUSE: Duration = Duration::from_millis(50);

/// Sends requests of one service.
#[derive(Debug)]
pub(super) struct Calls {
    connection: Connection,
    down: Mutex<Option<Down>>,
}

/// A service that does not answer.
#[derive(Debug)]
struct Down {
    since: Instant,
    reason: String,
    /// Somebody is trying whether it does again.
    tried: bool,
}

/// A request that was not done.
#[derive(Debug, PartialEq)]
pub(super) struct Refused {
    /// Where there was an answer.
    pub(super) status: Option<u16>,
    /// The service's word for it: `NoSuchKey`, `ContainerNotFound`, …; empty without.
    pub(super) code: String,
    /// All of it, in words.
    pub(super) reason: String,
}

impl Refused {
    /// A failure that no service said.
    pub(super) fn here(reason: impl Into<String>) -> Self {
        Refused { status: None, code: String::new(), reason: reason.into() }
    }
}

impl From<Refused> for String {
    fn from(refused: Refused) -> String {
        refused.reason
    }
}

impl Calls {
    pub(super) fn new(connection: Connection) -> Self {
        Calls { connection, down: Mutex::default() }
    }

    /// Sends what `request` makes (each time, for signatures age).
    pub(super) fn send(
        &self,
        request: impl Fn() -> Result<UpstreamRequest, Refused>,
    ) -> Result<UpstreamResponse, Refused> {
        self.may_go()?;
        let begun = Instant::now();
        let mut pause = FIRST_PAUSE;
        let mut tries = 0;
        loop {
            tries += 1;
            let sent = match request() {
                Ok(request) => self.connection.client.send(&request.to(Peer::Store)),
                Err(refused) => {
                    self.note(None);
                    return Err(refused);
                }
            };
            let error = match sent {
                Ok(response) => {
                    self.note(None);
                    return Ok(response);
                }
                Err(error) => error,
            };
            let may_help = match error.kind {
                ErrorKind::Status(429 | 500 | 502 | 503 | 504) => true,
                ErrorKind::Status(_) => code(&error) == "RequestTimeout",
                // It was waited for as long as one is to wait.
                ErrorKind::Timeout => false,
                ErrorKind::Connection => tries < 3,
                _ => false,
            };
            if !may_help || tries >= TRIES || begun.elapsed() + pause >= self.connection.timeout {
                let refused = refused(&error);
                let is_silent = matches!(error.kind, ErrorKind::Timeout | ErrorKind::Connection);
                self.note(is_silent.then_some(&refused.reason));
                return Err(refused);
            }
            std::thread::sleep(pause + jitter(pause));
            pause *= 3;
        }
    }

    fn may_go(&self) -> Result<(), Refused> {
        let mut down = self.down.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(down) = down.as_mut() {
            // Somebody who tries and never comes back does not keep others from trying.
            let rest = if down.tried { REST + 2 * self.connection.timeout } else { REST };
            if down.since.elapsed() < rest {
                return Err(Refused::here(format!("{} (not asked again so soon)", down.reason)));
            }
            down.tried = true;
        }
        Ok(())
    }

    /// How a request ended: `silence` is why there was no answer.
    fn note(&self, silence: Option<&String>) {
        let mut down = self.down.lock().unwrap_or_else(PoisonError::into_inner);
        match silence {
            None if down.is_none() => {}
            None => *down = None,
            Some(reason) => *down = Some(Down { since: Instant::now(), reason: reason.clone(), tried: false }),
        }
    }
}

/// So that all who were told to wait do not come back at the same time.
fn jitter(pause: Duration) -> Duration {
    let nanos = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |now| now.subsec_nanos());
    pause * (nanos / 1000 % 100) / 200
}

/// The service's word in a document about an error.
fn code(error: &ClientError) -> String {
    let text = String::from_utf8_lossy(&error.answer);
    let code = text.split_once("<Code>").and_then(|(_, rest)| rest.split_once("</Code>")).map_or("", |(code, _)| code);
    code.chars().filter(|c| c.is_ascii_alphanumeric()).take(60).collect()
}

fn refused(error: &ClientError) -> Refused {
    let code = code(error);
    let said = match error.status() {
        Some(_) if code.is_empty() => error.reason.clone(),
        Some(status) => format!("{status} {code}"),
        None => error.reason.clone(),
    };
    let advice = match (error.status(), code.as_str()) {
        (_, "NoSuchBucket" | "ContainerNotFound") => "; make it, or correct its name",
        (_, "RequestTimeTooSkewed") => "; the clock of this machine is wrong",
        (Some(401 | 403), _) => ": access denied; check credentials and permissions",
        (Some(301 | 307 | 308), _) | (_, "PermanentRedirect" | "AuthorizationHeaderMalformed") => "; check region_name",
        _ => "",
    };
    let redirected = if error.kind == ErrorKind::Redirect { "; check region_name and endpoint_url" } else { "" };
    Refused { status: error.status(), reason: format!("{said}{advice}{redirected}"), code }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use mapproxy_client::testkit::{ScriptedClient, failure, response};

    use super::*;

    fn calls(client: &ScriptedClient) -> Calls {
        let client: Arc<ScriptedClient> = Arc::new(client.clone());
        Calls::new(Connection { quick: client.clone(), client, timeout: Duration::from_secs(10) })
    }

    fn get() -> Result<UpstreamRequest, Refused> {
        Ok(UpstreamRequest::get("http://store/key"))
    }

    #[test]
    fn who_is_busy_is_asked_again() {
        let count = AtomicUsize::new(0);
        let client = ScriptedClient::new(move |request| match count.fetch_add(1, Ordering::SeqCst) {
            0 => Err(failure(ErrorKind::Status(503), request)),
            1 => Err(failure(ErrorKind::Status(500), request)),
            _ => Ok(response("image/png", "tile")),
        });
        assert_eq!(&calls(&client).send(get).unwrap().body[..], b"tile");
        assert_eq!(client.requests().len(), 3);
    }

    #[test]
    fn who_stays_busy_is_not_asked_for_ever() {
        let client = ScriptedClient::failing(503);
        let calls = calls(&client);
        assert_eq!(calls.send(get).unwrap_err().status, Some(503));
        assert_eq!(client.requests().len(), 4);
        // It does answer: others may be luckier.
        assert_eq!(calls.send(get).unwrap_err().status, Some(503));
        assert_eq!(client.requests().len(), 8);
    }

    #[test]
    fn a_refusal_is_final_and_told_with_the_services_own_word() {
        let client = ScriptedClient::new(|request| {
            let answer = b"<Error><Code>NoSuchBucket</Code><Message>x</Message></Error>".to_vec().into();
            Err(ClientError { answer, ..failure(ErrorKind::Status(404), request) })
        });
        let refused = calls(&client).send(get).unwrap_err();
        assert_eq!((refused.status, refused.code.as_str()), (Some(404), "NoSuchBucket"));
        assert!(refused.reason.contains("404 NoSuchBucket; make it"), "{}", refused.reason);
        assert_eq!(client.requests().len(), 1);
    }

    #[test]
    fn who_does_not_answer_is_left_alone_for_a_while_and_then_tried_by_one() {
        let client = ScriptedClient::new(|request| Err(failure(ErrorKind::Timeout, request)));
        let calls = calls(&client);
        for _ in 0..20 {
            assert!(calls.send(get).is_err());
        }
        assert_eq!(client.requests().len(), 1);
        std::thread::sleep(REST);
        for _ in 0..20 {
            assert!(calls.send(get).is_err());
        }
        assert_eq!(client.requests().len(), 2);
    }

    #[test]
    fn who_answers_again_is_asked_by_all() {
        let count = AtomicUsize::new(0);
        let client = ScriptedClient::new(move |request| match count.fetch_add(1, Ordering::SeqCst) {
            0 => Err(failure(ErrorKind::Timeout, request)),
            _ => Ok(response("image/png", "tile")),
        });
        let calls = calls(&client);
        assert!(calls.send(get).is_err());
        assert!(calls.send(get).unwrap_err().reason.contains("not asked again so soon"));
        std::thread::sleep(REST);
        assert!(calls.send(get).is_ok());
        assert!(calls.send(get).is_ok());
    }
}
