//! Servers that speak an OGC API: what they say of themselves is read when it is first needed, and kept.
//!
//! A failure is remembered for a moment only: a server that was away is asked again.

mod api;
mod crs;
mod maps;
mod tile_matrix_set;
mod tiles;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use mapproxy_map::MapError;

pub use maps::{OgcApiMapsOptions, OgcApiMapsSource};
pub use tile_matrix_set::{TileMatrixSet, TileMatrixSetError};
pub use tiles::{OgcApiTilesOptions, OgcApiTilesSource};

/// Bytes of the largest document that is taken.
pub const MAX_DOCUMENT_BYTES: u64 = 16 * 1024 * 1024;

/// For how long a failure is taken for the answer.
const RETRY_AFTER: Duration = Duration::from_secs(5);

/// What was found out, once for all who need it.
#[derive(Debug)]
struct Discovery<T> {
    state: Mutex<State<T>>,
}

#[derive(Debug)]
enum State<T> {
    Unknown,
    Known(Arc<T>),
    Failed(Instant, Arc<MapError>),
}

impl<T> Discovery<T> {
    fn new() -> Discovery<T> {
        Discovery { state: Mutex::new(State::Unknown) }
    }

    /// What is known, or what `find` finds; who comes while it looks waits for the same answer.
    fn get(&self, find: impl FnOnce() -> Result<T, MapError>) -> Result<Arc<T>, MapError> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        match &*state {
            State::Known(known) => return Ok(Arc::clone(known)),
            State::Failed(at, error) if at.elapsed() < RETRY_AFTER => return Err(MapError::Shared(Arc::clone(error))),
            State::Failed(..) | State::Unknown => {}
        }
        match find() {
            Ok(found) => {
                let found = Arc::new(found);
                *state = State::Known(Arc::clone(&found));
                Ok(found)
            }
            Err(error) => {
                let error = Arc::new(error);
                *state = State::Failed(Instant::now(), Arc::clone(&error));
                Err(MapError::Shared(error))
            }
        }
    }

    /// Forgets a failure, as if its time were over.
    #[cfg(test)]
    fn forget_failure(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if matches!(&*state, State::Failed(..)) {
            *state = State::Unknown;
        }
    }
}
