//! What has been done and what has not, kept in a file, so that who is interrupted goes on where it was.
//!
//! The file is an SQLite database. A task has a row that says how far its walk has come; work that was handed out and not
//! finished by then has rows of its own, and so has work that failed, with the reason. All of it is written together, at
//! most once a second: whoever is killed in between finds the work of that second a second time, and its tiles stored.
//!
//! A file belongs to one run at a time. SQLite's lock sees to that, which ends with the process, however it ends.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use mapproxy_grid::TileCoord;
use rusqlite::{Connection, ErrorCode, OptionalExtension as _, Transaction, params};
use sha2::{Digest as _, Sha256};

use crate::{Agenda, AgendaError, Claim, Outcome, Position, Refresh, SeedTask, Stop, TileWalk, Work};

/// How often it is written.
const WRITTEN_EVERY: Duration = Duration::from_secs(1);

/// In the head of the file: `MPsj`.
const APPLICATION_ID: i32 = 0x4d50_736a;
/// Of the tables; a file of another version is not read.
const VERSION: i32 = 1;

/// How far a moment that is counted from now may be off between two runs.
const SAME_MOMENT: Duration = Duration::from_secs(90);

const TABLES: &str = "
CREATE TABLE task (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL, cache TEXT NOT NULL, grid TEXT NOT NULL, part TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    begun REAL NOT NULL,
    refresh REAL,
    position TEXT NOT NULL,
    is_walked INTEGER NOT NULL,
    pieces INTEGER NOT NULL, made INTEGER NOT NULL, kept INTEGER NOT NULL, empty INTEGER NOT NULL,
    bytes INTEGER NOT NULL,
    UNIQUE (name, cache, grid, part));
CREATE TABLE work (
    task INTEGER NOT NULL REFERENCES task (id) ON DELETE CASCADE,
    number INTEGER NOT NULL,
    z INTEGER NOT NULL, x INTEGER NOT NULL, y INTEGER NOT NULL,
    tiles INTEGER NOT NULL,
    failed TEXT, attempts INTEGER NOT NULL DEFAULT 0, time REAL,
    PRIMARY KEY (task, number)) WITHOUT ROWID;
";

/// A journal that cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JournalError {
    /// Another run has it.
    #[error("{} is in use by another run; wait for its end, or give this one a file of its own", .0.display())]
    InUse(PathBuf),
    /// The original's progress file, a Python pickle: never read.
    #[error("{} is a progress file of MapProxy for Python, which cannot be read here", .0.display())]
    Pickle(PathBuf),
    /// Anything else.
    #[error("{} is no journal of a seeding run; give another file", .0.display())]
    Foreign(PathBuf),
    /// It cannot be read or written.
    #[error("{}: {reason}", path.display())]
    Trouble {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
}

/// The file, open and locked for this run.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    connection: Mutex<Connection>,
}

/// Which work of a task is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begin {
    /// All of it.
    Anew,
    /// What is not done yet; failed work counts as done. All of it, if the task is another than it was.
    Continue,
    /// What has failed.
    RetryFailed,
}

/// How an agenda begins.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Begun {
    /// With the first piece.
    Anew,
    /// With the first piece, although it was to go on: levels, coverage or the like have changed since.
    Changed,
    /// With what is left.
    Continued {
        /// What was done before.
        before: Totals,
    },
    /// With what has failed: so many pieces.
    Retrying {
        /// Pieces.
        pieces: u64,
    },
}

/// Part of a task's work.
pub struct Part {
    /// Tells it from other parts: `2/4`.
    pub name: String,
    /// Whether the piece with this number belongs to it.
    pub takes: Box<dyn Fn(u64) -> bool + Send + Sync>,
}

impl fmt::Debug for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Part({})", self.name)
    }
}

/// What has been done of a task.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Pieces of work, without those that failed.
    pub pieces: u64,
    /// Tiles made.
    pub made: u64,
    /// Tiles that were there.
    pub kept: u64,
    /// Tiles that there are not.
    pub empty: u64,
    /// Size of the tiles made.
    pub bytes: u64,
}

/// Work that has failed.
#[derive(Clone, Debug, PartialEq)]
pub struct FailedWork {
    /// The task's name in `seeds`.
    pub task: String,
    /// Its cache.
    pub cache: String,
    /// Its grid.
    pub grid: String,
    /// The tile that names the meta tile.
    pub main: TileCoord,
    /// Tiles that are missing or too old because of it, at most.
    pub tiles: u64,
    /// Why.
    pub reason: String,
    /// In how many runs it has failed.
    pub attempts: u64,
    /// When it failed last.
    pub time: SystemTime,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Journal {
    /// Opens the file, or makes it, and keeps others out of it.
    pub fn open(path: &Path) -> Result<Journal, JournalError> {
        let connection = Connection::open(path).map_err(|error| error_of(path, &error))?;
        Journal::with(path.to_owned(), connection).map_err(|error| error.unwrap_or_else(|error| error_of(path, &error)))
    }

    /// One that is forgotten at the end of the process.
    pub fn in_memory() -> Result<Journal, JournalError> {
        let path = Path::new("memory");
        let connection = Connection::open_in_memory().map_err(|error| error_of(path, &error))?;
        Journal::with(path.to_owned(), connection).map_err(|error| error.unwrap_or_else(|error| error_of(path, &error)))
    }

    fn with(path: PathBuf, mut connection: Connection) -> Result<Journal, Result<JournalError, rusqlite::Error>> {
        connection.busy_timeout(Duration::ZERO).map_err(Err)?;
        // A lock once taken is kept, and what is committed has reached the disk.
        for (name, value) in [("locking_mode", "EXCLUSIVE"), ("synchronous", "FULL"), ("foreign_keys", "ON")] {
            connection.pragma_update_and_check(None, name, value, |_| Ok(())).optional().map_err(Err)?;
        }
        let transaction =
            connection.transaction_with_behavior(rusqlite::TransactionBehavior::Exclusive).map_err(Err)?;
        let number = |name: &str| transaction.pragma_query_value(None, name, |row| row.get::<_, i32>(0));
        let tables: i64 =
            transaction.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0)).map_err(Err)?;
        match (number("application_id").map_err(Err)?, number("user_version").map_err(Err)?) {
            (0, 0) if tables == 0 => {
                transaction.pragma_update(None, "application_id", APPLICATION_ID).map_err(Err)?;
                transaction.pragma_update(None, "user_version", VERSION).map_err(Err)?;
                transaction.execute_batch(TABLES).map_err(Err)?;
            }
            (APPLICATION_ID, VERSION) => {}
            _ => return Err(Ok(JournalError::Foreign(path))),
        }
        transaction.commit().map_err(Err)?;
        Ok(Journal { path, connection: Mutex::new(connection) })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The list of work of a task, or of a part of it. Its [`JournalAgenda::task`] is the one to work by.
    pub fn agenda(
        self: &Arc<Self>,
        task: &SeedTask,
        begin: Begin,
        part: Option<Part>,
    ) -> Result<JournalAgenda, AgendaError> {
        let trouble = |error: rusqlite::Error| self.trouble(&error);
        let mut connection = locked(&self.connection);
        let transaction = connection.transaction().map_err(trouble)?;
        let (agenda, begun) = self.begin(&transaction, task, begin, part.as_ref())?;
        transaction.commit().map_err(trouble)?;
        let Beginning { id, task, walk, queue, totals } = agenda;
        let is_retry = begin == Begin::RetryFailed;
        let state = State {
            listed: queue.len(),
            out: queue
                .iter()
                .map(|work| (work.number, Out { main: work.main, tiles: work.tiles.len(), is_written: true }))
                .collect(),
            queue,
            walk: walk.filter(|_| !is_retry),
            totals,
            over: Vec::new(),
            failed: Vec::new(),
            written: Instant::now(),
            is_changed: false,
        };
        let is_walked = state.walk.is_none();
        Ok(JournalAgenda {
            journal: Arc::clone(self),
            id,
            task,
            part,
            begun,
            is_retry,
            was_walked: is_retry || is_walked,
            state: Mutex::new(state),
            is_ailing: AtomicBool::new(false),
        })
    }

    fn begin(
        &self,
        transaction: &Transaction<'_>,
        task: &SeedTask,
        begin: Begin,
        part: Option<&Part>,
    ) -> Result<(Beginning, Begun), AgendaError> {
        let trouble = |error: rusqlite::Error| self.trouble(&error);
        let walk_failed =
            |error: crate::WalkError| AgendaError { what: format!("task {}", task.name), reason: error.to_string() };
        let walk = TileWalk::new(task).map_err(walk_failed)?;
        let (cache, grid) = (&**task.manager.name(), task.manager.grid().name());
        let part_name = part.map_or("", |part| &part.name);
        let fingerprint = fingerprint(task);
        let names = params![&*task.name, cache, grid, part_name];
        let row: Option<Row> = transaction
            .query_row(
                "SELECT id, fingerprint, begun, refresh, position, is_walked, pieces, made, kept, empty, bytes FROM task \
                 WHERE name = ?1 AND cache = ?2 AND grid = ?3 AND part = ?4",
                names,
                Row::read,
            )
            .optional()
            .map_err(trouble)?;
        let now = SystemTime::now();
        let known = row.filter(|row| begin == Begin::RetryFailed || row.is_of(&fingerprint, task, now));
        let known = known.filter(|_| begin != Begin::Anew);
        let Some(row) = known else {
            let (queue, totals) = (VecDeque::new(), Totals::default());
            if begin == Begin::RetryFailed {
                let beginning = Beginning { id: 0, task: task.clone(), walk: None, queue, totals };
                return Ok((beginning, Begun::Retrying { pieces: 0 }));
            }
            let delete = "DELETE FROM task WHERE name = ?1 AND cache = ?2 AND grid = ?3 AND part = ?4";
            let existed = transaction.execute(delete, names).map_err(trouble)? > 0;
            let insert = "INSERT INTO task (name, cache, grid, part, fingerprint, begun, refresh, position, is_walked, \
                          pieces, made, kept, empty, bytes) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, 0, 0, 0, 0, 0, 0)";
            let refresh = moment(task.refresh).map(seconds);
            let position = Position::default().to_string();
            let row = params![&*task.name, cache, grid, part_name, fingerprint, seconds(now), refresh, position];
            transaction.execute(insert, row).map_err(trouble)?;
            let id = transaction.last_insert_rowid();
            let begun = if begin == Begin::Continue && existed { Begun::Changed } else { Begun::Anew };
            return Ok((Beginning { id, task: task.clone(), walk: Some(walk), queue, totals }, begun));
        };
        let which = if begin == Begin::RetryFailed { "IS NOT NULL" } else { "IS NULL" };
        let sql = format!("SELECT number, z, x, y FROM work WHERE task = ?1 AND failed {which} ORDER BY number");
        let mut statement = transaction.prepare(&sql).map_err(trouble)?;
        let queue = statement
            .query_map([row.id], |row| Ok((row.get(0)?, TileCoord::new(row.get(2)?, row.get(3)?, row.get(1)?))))
            .map_err(trouble)?
            .filter(|work| {
                work.as_ref().is_ok_and(|(_, main)| task.manager.grid().contains_tile(*main)) || work.is_err()
            })
            .map(|work| work.map(|(number, main)| walk.work(number, main)))
            .collect::<rusqlite::Result<VecDeque<Work>>>()
            .map_err(trouble)?;
        let refresh = match (task.refresh, row.refresh) {
            (Refresh::Before(_), Some(before)) => Refresh::Before(time_of(before)),
            (refresh, _) => refresh,
        };
        let task = SeedTask { refresh, ..task.clone() };
        let walk = if row.is_walked || begin == Begin::RetryFailed {
            None
        } else {
            let position: Position = row.position.parse().map_err(|error: crate::PositionError| AgendaError {
                what: self.path.display().to_string(),
                reason: error.to_string(),
            })?;
            Some(TileWalk::resume(&task, &position).map_err(walk_failed)?)
        };
        let begun = match begin {
            Begin::RetryFailed => Begun::Retrying { pieces: queue.len() as u64 },
            _ => Begun::Continued { before: row.totals },
        };
        Ok((Beginning { id: row.id, task, walk, queue, totals: row.totals }, begun))
    }

    /// Work that has failed, of all tasks, the newest first; at most so many.
    pub fn failures(&self, most: u32) -> Result<Vec<FailedWork>, AgendaError> {
        let connection = locked(&self.connection);
        let read = || {
            let mut statement = connection.prepare(
                "SELECT name, cache, grid, x, y, z, tiles, failed, attempts, time FROM work JOIN task ON task.id = \
                 work.task WHERE failed IS NOT NULL ORDER BY time DESC LIMIT ?1",
            )?;
            let rows = statement.query_map([most], |row| {
                Ok(FailedWork {
                    task: row.get(0)?,
                    cache: row.get(1)?,
                    grid: row.get(2)?,
                    main: TileCoord::new(row.get(3)?, row.get(4)?, row.get(5)?),
                    tiles: row.get(6)?,
                    reason: row.get(7)?,
                    attempts: row.get(8)?,
                    time: time_of(row.get::<_, Option<f64>>(9)?.unwrap_or_default()),
                })
            })?;
            rows.collect::<rusqlite::Result<Vec<_>>>()
        };
        read().map_err(|error| self.trouble(&error))
    }

    /// Pieces and tiles that have failed, of all tasks.
    pub fn failed(&self) -> Result<(u64, u64), AgendaError> {
        let sql = "SELECT count(*), coalesce(sum(tiles), 0) FROM work WHERE failed IS NOT NULL";
        let answer = locked(&self.connection).query_row(sql, [], |row| Ok((row.get(0)?, row.get(1)?)));
        answer.map_err(|error| self.trouble(&error))
    }

    /// Everything in it is done, and nothing has failed.
    pub fn is_done(&self) -> Result<bool, AgendaError> {
        let sql = "SELECT NOT EXISTS (SELECT 1 FROM work) AND NOT EXISTS (SELECT 1 FROM task WHERE NOT is_walked)";
        let answer = locked(&self.connection).query_row(sql, [], |row| row.get(0));
        answer.map_err(|error| self.trouble(&error))
    }

    /// Removes the file; whoever has it open writes into nothing.
    pub fn remove(&self) -> Result<(), JournalError> {
        let trouble = |path: &Path, error: std::io::Error| JournalError::Trouble {
            path: path.to_owned(),
            reason: error.to_string(),
        };
        let mut beside = self.path.as_os_str().to_owned();
        beside.push("-journal");
        for path in [Path::new(&beside), &self.path] {
            match std::fs::remove_file(path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(trouble(path, error)),
                _ => {}
            }
        }
        Ok(())
    }

    fn trouble(&self, error: &rusqlite::Error) -> AgendaError {
        AgendaError { what: self.path.display().to_string(), reason: error.to_string() }
    }
}

fn error_of(path: &Path, error: &rusqlite::Error) -> JournalError {
    let path = path.to_owned();
    match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => JournalError::InUse(path),
        Some(ErrorCode::NotADatabase) => {
            // All protocols of Python that are in use begin with this.
            let first = std::fs::read(&path).ok().and_then(|bytes| bytes.first().copied());
            if first == Some(0x80) { JournalError::Pickle(path) } else { JournalError::Foreign(path) }
        }
        _ => JournalError::Trouble { path, reason: error.to_string() },
    }
}

/// What an agenda begins with.
struct Beginning {
    id: i64,
    task: SeedTask,
    walk: Option<TileWalk>,
    queue: VecDeque<Work>,
    totals: Totals,
}

/// A task in the file.
struct Row {
    id: i64,
    fingerprint: String,
    begun: f64,
    refresh: Option<f64>,
    position: String,
    is_walked: bool,
    totals: Totals,
}

impl Row {
    fn read(row: &rusqlite::Row<'_>) -> rusqlite::Result<Row> {
        Ok(Row {
            id: row.get(0)?,
            fingerprint: row.get(1)?,
            begun: row.get(2)?,
            refresh: row.get(3)?,
            position: row.get(4)?,
            is_walked: row.get(5)?,
            totals: Totals {
                pieces: row.get(6)?,
                made: row.get(7)?,
                kept: row.get(8)?,
                empty: row.get(9)?,
                bytes: row.get(10)?,
            },
        })
    }

    /// The task is the same. `refresh_before` may be a moment, or an age, which is another moment in each run: it is the
    /// same if it has moved with the time since.
    fn is_of(&self, fingerprint: &str, task: &SeedTask, now: SystemTime) -> bool {
        let is_same_moment = match (self.refresh, moment(task.refresh).map(seconds)) {
            (None, None) => true,
            (Some(then), Some(moment)) => {
                let (moved, passed) = (moment - then, seconds(now) - self.begun);
                moved.abs() < 1.0 || (moved - passed).abs() < SAME_MOMENT.as_secs_f64()
            }
            _ => false,
        };
        self.fingerprint == fingerprint && is_same_moment
    }
}

fn moment(refresh: Refresh) -> Option<SystemTime> {
    match refresh {
        Refresh::Missing => None,
        Refresh::Before(moment) => Some(moment),
    }
}

fn seconds(time: SystemTime) -> f64 {
    time.duration_since(UNIX_EPOCH).map_or_else(|error| -error.duration().as_secs_f64(), |since| since.as_secs_f64())
}

fn time_of(seconds: f64) -> SystemTime {
    let apart = Duration::try_from_secs_f64(seconds.abs()).unwrap_or_default();
    let time = if seconds < 0.0 { UNIX_EPOCH.checked_sub(apart) } else { UNIX_EPOCH.checked_add(apart) };
    time.unwrap_or(UNIX_EPOCH)
}

/// Changes when the walk of the task does.
pub(crate) fn fingerprint(task: &SeedTask) -> String {
    let mut hash = Sha256::new();
    let grid = task.manager.grid();
    let meta = task.manager.work_grid().meta_size();
    hash.update(format!("{:?} {} {meta:?}", task.levels, task.skip_geoms_for_last_levels));
    hash.update(format!("{} {:?} {:?} {:?}", grid.srs(), grid.bbox(), grid.origin(), grid.tile_size()));
    for level in grid.levels() {
        hash.update(level.resolution.to_le_bytes());
    }
    if let Some(coverage) = &task.coverage {
        let extent = coverage.extent();
        hash.update(extent.srs.to_string());
        // In its own reference system nothing needs to be transformed.
        let polygons = coverage.polygons_in(&extent.bbox, &extent.srs).unwrap_or_default();
        for (x, y) in polygons.iter().flatten().flatten() {
            hash.update(x.to_le_bytes());
            hash.update(y.to_le_bytes());
        }
    }
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The work of a task as the journal has it: its walk from where it was, or what has failed.
#[derive(Debug)]
pub struct JournalAgenda {
    journal: Arc<Journal>,
    id: i64,
    task: SeedTask,
    part: Option<Part>,
    begun: Begun,
    is_retry: bool,
    /// There is nothing to be walked.
    was_walked: bool,
    state: Mutex<State>,
    /// It could not be written, which was told.
    is_ailing: AtomicBool,
}

#[derive(Debug)]
struct State {
    walk: Option<TileWalk>,
    /// Work of former runs.
    queue: VecDeque<Work>,
    /// How much that was.
    listed: usize,
    /// Work that is not finished, by number.
    out: HashMap<u64, Out>,
    /// Rows that are to go.
    over: Vec<u64>,
    failed: Vec<Failed>,
    totals: Totals,
    written: Instant,
    is_changed: bool,
}

#[derive(Clone, Copy, Debug)]
struct Out {
    main: TileCoord,
    tiles: usize,
    /// It has a row.
    is_written: bool,
}

#[derive(Debug)]
struct Failed {
    number: u64,
    main: TileCoord,
    tiles: usize,
    reason: String,
    time: SystemTime,
}

impl JournalAgenda {
    /// The task with the moment of its first run: what was new enough then stays so.
    pub fn task(&self) -> &SeedTask {
        &self.task
    }

    /// How it begins.
    pub fn begun(&self) -> Begun {
        self.begun
    }

    /// What has been done of the task in all runs.
    pub fn totals(&self) -> Totals {
        locked(&self.state).totals
    }

    /// Writes what has not been written yet.
    pub fn write(&self) -> Result<(), AgendaError> {
        let connection = locked(&self.journal.connection);
        self.write_to(connection)
    }

    /// Writes if it is time to. What cannot be written stays to be written, and is told once.
    fn write_now_and_then(&self) {
        if locked(&self.state).written.elapsed() < WRITTEN_EVERY {
            return;
        }
        // Somebody else is at it.
        let Ok(connection) = self.journal.connection.try_lock() else { return };
        match self.write_to(connection) {
            Ok(()) => self.is_ailing.store(false, Ordering::Relaxed),
            Err(error) if !self.is_ailing.swap(true, Ordering::Relaxed) => {
                log::error!(target: "mapproxy.seed", "the journal cannot be written, seeding goes on without: {error}");
            }
            Err(_) => {}
        }
    }

    fn write_to(&self, mut connection: MutexGuard<'_, Connection>) -> Result<(), AgendaError> {
        let mut state = locked(&self.state);
        state.written = Instant::now();
        if !state.is_changed {
            return Ok(());
        }
        state.is_changed = false;
        let position = state.walk.as_ref().map(|walk| walk.position().to_string());
        let totals = state.totals;
        let (over, failed) = (std::mem::take(&mut state.over), std::mem::take(&mut state.failed));
        let mut new = Vec::new();
        for (number, out) in state.out.iter_mut().filter(|(_, out)| !out.is_written) {
            out.is_written = true;
            new.push((*number, *out));
        }
        drop(state);
        let written = self.write_changes(&mut connection, position, totals, &over, &failed, &new);
        written.map_err(|error| {
            let mut state = locked(&self.state);
            state.is_changed = true;
            state.over.extend(over);
            state.failed.extend(failed);
            for (number, _) in new {
                if let Some(out) = state.out.get_mut(&number) {
                    out.is_written = false;
                }
            }
            self.journal.trouble(&error)
        })
    }

    fn write_changes(
        &self,
        connection: &mut Connection,
        position: Option<String>,
        totals: Totals,
        over: &[u64],
        failed: &[Failed],
        new: &[(u64, Out)],
    ) -> rusqlite::Result<()> {
        let transaction = connection.transaction()?;
        {
            let mut delete = transaction.prepare_cached("DELETE FROM work WHERE task = ?1 AND number = ?2")?;
            for number in over {
                delete.execute(params![self.id, number])?;
            }
            let mut insert = transaction.prepare_cached(
                "INSERT OR REPLACE INTO work (task, number, z, x, y, tiles) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            )?;
            for (number, Out { main, tiles, .. }) in new {
                insert.execute(params![self.id, number, main.z, main.x, main.y, *tiles as u64])?;
            }
            let mut fail = transaction.prepare_cached(
                "INSERT INTO work (task, number, z, x, y, tiles, failed, attempts, time) VALUES (?1, ?2, ?3, ?4, ?5, ?6, \
                 ?7, 1, ?8) ON CONFLICT (task, number) DO UPDATE SET failed = ?7, attempts = attempts + 1, time = ?8",
            )?;
            for Failed { number, main, tiles, reason, time } in failed {
                let tiles = *tiles as u64;
                fail.execute(params![self.id, number, main.z, main.x, main.y, tiles, reason, seconds(*time)])?;
            }
            let Totals { pieces, made, kept, empty, bytes } = totals;
            transaction.execute(
                "UPDATE task SET pieces = ?2, made = ?3, kept = ?4, empty = ?5, bytes = ?6 WHERE id = ?1",
                params![self.id, pieces, made, kept, empty, bytes],
            )?;
            if !self.was_walked {
                let is_walked = position.is_none();
                transaction.execute(
                    "UPDATE task SET position = coalesce(?2, position), is_walked = ?3 WHERE id = ?1",
                    params![self.id, position, is_walked],
                )?;
            }
        }
        transaction.commit()
    }
}

impl Agenda for JournalAgenda {
    fn next(&self, stop: &Stop) -> Result<Option<Claim>, AgendaError> {
        if stop.is_asked() {
            return Ok(None);
        }
        let work = {
            let state = &mut *locked(&self.state);
            match state.queue.pop_front() {
                Some(work) => Some(work),
                None => state.walk.as_mut().and_then(|walk| {
                    loop {
                        let (number, main) = walk.next_main()?;
                        if self.part.as_ref().is_none_or(|part| (part.takes)(number)) {
                            break Some(walk.work(number, main));
                        }
                    }
                }),
            }
            .inspect(|work| {
                let out = Out { main: work.main, tiles: work.tiles.len(), is_written: false };
                state.out.entry(work.number).or_insert(out);
                state.is_changed = true;
            })
            .or_else(|| {
                state.is_changed |= state.walk.take().is_some();
                None
            })
        };
        self.write_now_and_then();
        Ok(work.map(|work| Claim { id: work.number.to_string(), work }))
    }

    fn finish(&self, claim: &Claim, outcome: &Outcome) -> Result<(), AgendaError> {
        {
            let state = &mut *locked(&self.state);
            let number = claim.work.number;
            match outcome {
                Outcome::Done { made, kept, bytes } => {
                    if state.out.remove(&number).is_some_and(|out| out.is_written) {
                        state.over.push(number);
                    }
                    state.totals.pieces += 1;
                    state.totals.made += made;
                    state.totals.kept += kept;
                    state.totals.empty += (claim.work.tiles.len() as u64).saturating_sub(made + kept);
                    state.totals.bytes += bytes;
                }
                Outcome::Failed { reason } => {
                    state.out.remove(&number);
                    let Work { number, main, ref tiles } = claim.work;
                    let (reason, time) = (reason.clone(), SystemTime::now());
                    state.failed.push(Failed { number, main, tiles: tiles.len(), reason, time });
                }
                // It stays what it was: work that was begun, or that has failed before.
                Outcome::NotDone => {}
            }
            state.is_changed = true;
        }
        self.write_now_and_then();
        Ok(())
    }

    fn fraction(&self) -> f64 {
        let state = locked(&self.state);
        if self.is_retry {
            let left = state.queue.len() as f64;
            return if state.listed == 0 { 1.0 } else { 1.0 - left / state.listed as f64 };
        }
        state.walk.as_ref().map_or(1.0, TileWalk::fraction)
    }
}

impl Drop for JournalAgenda {
    fn drop(&mut self) {
        if let Err(error) = self.write() {
            log::error!(target: "mapproxy.seed", "the end of task {} is not in the journal: {error}", self.task.name);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::process::{Command, Stdio};

    use mapproxy_client::testkit::ScriptedClient;
    use mapproxy_grid::{Bbox, Coverage};

    use super::*;
    use crate::testkit::{answer, manager, task};

    fn quiet_task(directory: &Path, to: u8) -> SeedTask {
        task(&manager(directory, Arc::new(ScriptedClient::new(|_| Ok(answer())))), to)
    }

    fn done(claim: &Claim) -> Outcome {
        Outcome::Done { made: claim.work.tiles.len() as u64, kept: 0, bytes: 100 }
    }

    fn next(agenda: &JournalAgenda) -> Option<Claim> {
        agenda.next(&Stop::default()).unwrap()
    }

    fn open(directory: &Path) -> Arc<Journal> {
        Arc::new(Journal::open(&directory.join("journal")).unwrap())
    }

    fn numbers(agenda: &JournalAgenda) -> Vec<u64> {
        std::iter::from_fn(|| next(agenda)).map(|claim| claim.work.number).collect()
    }

    #[test]
    fn what_was_not_finished_comes_first_then_the_rest_and_nothing_twice() {
        let directory = tempfile::tempdir().unwrap();
        let task = quiet_task(directory.path(), 4);
        let all = TileWalk::new(&task).unwrap().count() as u64;
        let agenda = open(directory.path()).agenda(&task, Begin::Continue, None).unwrap();
        assert_eq!(agenda.begun(), Begun::Anew);
        let claims: Vec<Claim> = std::iter::from_fn(|| next(&agenda)).take(20).collect();
        for claim in claims.iter().filter(|claim| ![3, 7, 11].contains(&claim.work.number)) {
            agenda.finish(claim, &done(claim)).unwrap();
        }
        agenda.finish(&claims[7], &Outcome::Failed { reason: "no answer".to_owned() }).unwrap();
        agenda.finish(&claims[11], &Outcome::NotDone).unwrap();
        drop(agenda);

        let journal = open(directory.path());
        assert!(!journal.is_done().unwrap());
        let agenda = journal.agenda(&task, Begin::Continue, None).unwrap();
        assert!(matches!(agenda.begun(), Begun::Continued { before } if before.pieces == 17 && before.bytes == 1700));
        let first = next(&agenda).unwrap();
        assert_eq!(first.work, claims[3].work);
        agenda.finish(&first, &done(&first)).unwrap();
        let mut rest = Vec::new();
        while let Some(claim) = next(&agenda) {
            agenda.finish(&claim, &done(&claim)).unwrap();
            rest.push(claim.work.number);
        }
        assert_eq!(rest, [11].into_iter().chain(20..all).collect::<Vec<_>>());
        assert_eq!((agenda.fraction(), agenda.totals().pieces), (1.0, all - 1));
        drop(agenda);

        assert!(!journal.is_done().unwrap(), "a piece has failed");
        assert_eq!(journal.failed().unwrap(), (1, 4));
        let failures = journal.failures(10).unwrap();
        assert_eq!((failures[0].main, &*failures[0].reason), (claims[7].work.main, "no answer"));
        let agenda = journal.agenda(&task, Begin::RetryFailed, None).unwrap();
        assert_eq!(agenda.begun(), Begun::Retrying { pieces: 1 });
        let claim = next(&agenda).unwrap();
        assert_eq!(claim.work, claims[7].work);
        agenda.finish(&claim, &Outcome::Failed { reason: "again".to_owned() }).unwrap();
        drop(agenda);
        assert_eq!(journal.failures(10).unwrap()[0].attempts, 2);
        let agenda = journal.agenda(&task, Begin::RetryFailed, None).unwrap();
        let claim = next(&agenda).unwrap();
        agenda.finish(&claim, &done(&claim)).unwrap();
        assert_eq!(next(&agenda), None);
        drop(agenda);
        assert!(journal.is_done().unwrap());
        let agenda = journal.agenda(&task, Begin::Continue, None).unwrap();
        assert_eq!((next(&agenda), agenda.totals().pieces), (None, all));
        drop(agenda);
        journal.remove().unwrap();
        assert!(!directory.path().join("journal").exists());
    }

    #[test]
    fn a_task_that_has_changed_is_begun_anew_and_others_stay_as_they_are() {
        let directory = tempfile::tempdir().unwrap();
        let task = quiet_task(directory.path(), 3);
        let other = SeedTask { name: "other".into(), ..task.clone() };
        let journal = open(directory.path());
        for task in [&task, &other] {
            let agenda = journal.agenda(task, Begin::Anew, None).unwrap();
            let claim = next(&agenda).unwrap();
            agenda.finish(&claim, &Outcome::Failed { reason: "no answer".to_owned() }).unwrap();
        }
        assert_eq!(journal.failed().unwrap().0, 2);
        let west = Coverage::from_bbox(Bbox::new(-2e7, -2e7, 0.0, 2e7), task.manager.grid().srs().clone());
        let changed = [
            SeedTask { levels: vec![1, 2], ..task.clone() },
            SeedTask { coverage: Some(west), ..task.clone() },
            SeedTask { refresh: Refresh::Before(SystemTime::now()), ..task.clone() },
        ];
        for task in &changed {
            let agenda = journal.agenda(task, Begin::Continue, None).unwrap();
            assert_eq!((agenda.begun(), next(&agenda).unwrap().work.number), (Begun::Changed, 0));
        }
        assert_eq!(journal.failed().unwrap().0, 1, "those of the other task");
        assert!(matches!(journal.agenda(&other, Begin::Continue, None).unwrap().begun(), Begun::Continued { .. }));
    }

    #[test]
    fn an_age_stays_counted_from_the_first_run_and_another_moment_is_another_task() {
        let directory = tempfile::tempdir().unwrap();
        let task = quiet_task(directory.path(), 2);
        let journal = open(directory.path());
        let week = Duration::from_secs(7 * 24 * 3600);
        let first = SystemTime::now() - week;
        let with = |moment| SeedTask { refresh: Refresh::Before(moment), ..task.clone() };
        drop(journal.agenda(&with(first), Begin::Anew, None).unwrap());
        // The run began an hour ago, as far as the file can tell.
        let hour = Duration::from_secs(3600);
        let back = "UPDATE task SET begun = begun - 3600, refresh = refresh - 3600";
        locked(&journal.connection).execute(back, []).unwrap();
        let agenda = journal.agenda(&with(SystemTime::now() - week), Begin::Continue, None).unwrap();
        assert!(matches!(agenda.begun(), Begun::Continued { .. }));
        let Refresh::Before(kept) = agenda.task().refresh else { panic!() };
        let apart = (first - hour).duration_since(kept).unwrap_or_else(|error| error.duration());
        assert!(apart < Duration::from_millis(10), "{apart:?}");
        drop(agenda);
        let same = journal.agenda(&with(first - hour), Begin::Continue, None).unwrap();
        assert!(matches!(same.begun(), Begun::Continued { .. }), "a moment that stays is the same, too");
        drop(same);
        let other = journal.agenda(&with(first - hour * 5), Begin::Continue, None).unwrap();
        assert_eq!(other.begun(), Begun::Changed);
    }

    #[test]
    fn parts_share_the_work_and_keep_their_own_place() {
        let directory = tempfile::tempdir().unwrap();
        let task = quiet_task(directory.path(), 3);
        let journal = open(directory.path());
        let part = |n: u64| Part { name: format!("{n}/2"), takes: Box::new(move |number| number % 2 == n - 1) };
        let one = journal.agenda(&task, Begin::Anew, Some(part(1))).unwrap();
        let two = journal.agenda(&task, Begin::Anew, Some(part(2))).unwrap();
        let (one, two) = (numbers(&one), numbers(&two));
        let all: HashSet<u64> = one.iter().chain(&two).copied().collect();
        assert_eq!(all.len(), one.len() + two.len());
        assert_eq!(all.len(), TileWalk::new(&task).unwrap().count());
    }

    #[test]
    fn a_file_of_others_is_refused_and_stays_and_one_in_use_is_told() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("progress");
        std::fs::write(&path, b"\x80\x04\x95\x2a\x00\x00\x00\x00\x00\x00\x00}\x94.".repeat(100)).unwrap();
        assert!(matches!(Journal::open(&path).unwrap_err(), JournalError::Pickle(_)));
        std::fs::write(&path, "seeds: {}\n".repeat(100)).unwrap();
        assert!(matches!(Journal::open(&path).unwrap_err(), JournalError::Foreign(_)));
        assert!(std::fs::read(&path).unwrap().starts_with(b"seeds"));
        let tiles = directory.path().join("tiles.mbtiles");
        Connection::open(&tiles).unwrap().execute("CREATE TABLE tiles (x)", []).unwrap();
        assert!(matches!(Journal::open(&tiles).unwrap_err(), JournalError::Foreign(_)));
        let path = directory.path().join("journal");
        let journal = Journal::open(&path).unwrap();
        let error = Journal::open(&path).unwrap_err();
        assert!(matches!(error, JournalError::InUse(_)), "{error}");
        drop(journal);
        Journal::open(&path).unwrap();
        assert!(matches!(
            Journal::open(Path::new("/no/such/directory/journal")).unwrap_err(),
            JournalError::Trouble { .. }
        ));
    }

    const DIRECTORY: &str = "JOURNAL_TEST_DIRECTORY";

    /// The child of the next test: does work until it is killed, and notes beside the journal what it has done.
    fn work_until_killed(directory: &Path) {
        use std::io::Write as _;
        let agenda = open(directory).agenda(&quiet_task(directory, 10), Begin::Continue, None).unwrap();
        let mut log = std::fs::OpenOptions::new().create(true).append(true).open(directory.join("done")).unwrap();
        while let Some(claim) = next(&agenda) {
            writeln!(log, "{}", claim.work.number).unwrap();
            agenda.finish(&claim, &done(&claim)).unwrap();
            std::thread::sleep(Duration::from_micros(50));
        }
    }

    #[test]
    fn who_is_killed_loses_no_work_and_does_little_of_it_twice() {
        if let Some(directory) = std::env::var_os(DIRECTORY) {
            return work_until_killed(Path::new(&directory));
        }
        let directory = tempfile::tempdir().unwrap();
        let name = "journal::tests::who_is_killed_loses_no_work_and_does_little_of_it_twice";
        let mut before = 0;
        for _ in 0..3 {
            let mut child = Command::new(std::env::current_exe().unwrap())
                .args(["--exact", name])
                .env(DIRECTORY, directory.path())
                .stdout(Stdio::null())
                .spawn()
                .unwrap();
            // Until it has written the journal, and worked on.
            let position = || {
                let path = directory.path().join("journal");
                let bytes = std::fs::read(path).unwrap_or_default();
                bytes.len()
            };
            let log = || std::fs::read_to_string(directory.path().join("done")).unwrap_or_default().lines().count();
            let deadline = Instant::now() + Duration::from_secs(30);
            let begun = log();
            while (log() < begun + 200 || position() == 0) && Instant::now() < deadline {
                std::thread::sleep(Duration::from_millis(5));
            }
            std::thread::sleep(Duration::from_millis(1200));
            child.kill().unwrap();
            child.wait().unwrap();
            assert!(log() > before);
            before = log();
        }
        let text = std::fs::read_to_string(directory.path().join("done")).unwrap();
        // The last line may be cut off.
        let finished: HashSet<u64> = text.lines().filter_map(|line| line.parse().ok()).collect();
        let journal = open(directory.path());
        let agenda = journal.agenda(&quiet_task(directory.path(), 10), Begin::Continue, None).unwrap();
        let Begun::Continued { before } = agenda.begun() else { panic!("{:?}", agenda.begun()) };
        assert!(before.pieces > 0);
        let first = next(&agenda).unwrap().work.number;
        let missing: Vec<u64> = (0..first).filter(|number| !finished.contains(number)).collect();
        assert!(missing.is_empty(), "lost: {missing:?}");
        assert!(first > 0 && finished.len() as u64 > first - 1);
    }
}
