//! What ends a run before its work is done: a signal, or the time given by `--duration`.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use mapproxy_seeding::Stop;

use super::INTERRUPTED;

/// The request to stop, and who made it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ending {
    pub(crate) stop: Stop,
    is_time_over: Arc<AtomicBool>,
}

impl Ending {
    /// One that signals ask for (a second one ends the program at once), and the end of `duration`.
    pub(crate) fn watched(duration: Option<Duration>) -> io::Result<Ending> {
        let ending = Ending::default();
        let thread = |name: &str| std::thread::Builder::new().name(format!("mapproxy-{name}"));
        if let Some(duration) = duration {
            let ending = ending.clone();
            thread("duration").spawn(move || {
                if !ending.stop.wait(duration) {
                    ending.is_time_over.store(true, Ordering::SeqCst);
                    ending.stop.ask();
                }
            })?;
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let mut signals = {
            let _guard = runtime.enter();
            signals()?
        };
        let stop = ending.stop.clone();
        thread("signals").spawn(move || {
            runtime.block_on(async move {
                signals.next().await;
                stop.ask();
                signals.next().await;
                // The journal is whole at any moment.
                std::process::exit(i32::from(INTERRUPTED));
            });
        })?;
        Ok(ending)
    }

    /// It is the time that is over.
    pub(crate) fn is_time_over(&self) -> bool {
        self.is_time_over.load(Ordering::SeqCst)
    }
}

#[cfg(unix)]
struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

#[cfg(unix)]
fn signals() -> io::Result<Signals> {
    use tokio::signal::unix::{SignalKind, signal};
    Ok(Signals { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
}

#[cfg(unix)]
impl Signals {
    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

#[cfg(not(unix))]
struct Signals;

#[cfg(not(unix))]
fn signals() -> io::Result<Signals> {
    Ok(Signals)
}

#[cfg(not(unix))]
impl Signals {
    async fn next(&mut self) {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}
