//! One SQLite file: connections that read, kept between tiles, and one that writes.
//!
//! Readers are opened read-only. A database with a write-ahead log makes two files beside it, which a directory without
//! write permission does not allow; if there is no log to be read, such a file is opened as one that nobody changes
//! (`immutable`), and opened anew as soon as its size or time is another. Nothing else makes SQLite read it.
//!
//! Never open a database's file but through SQLite: closing any descriptor of it gives up the locks that this process
//! holds on it.

use std::fs;
use std::io;
use std::mem::{Discriminant, discriminant};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rusqlite::{Connection, OpenFlags, Transaction, TransactionBehavior};

use super::pool::{Counted, Pool};
use super::trouble::Trouble;
use crate::Permissions;
use crate::fs::{create_directories, parent};
use crate::lock::{LockError, lock_file};

/// How new files are made, and how long locked ones are waited for.
#[derive(Clone, Copy, Debug)]
pub struct FileOptions {
    /// `sqlite_timeout`.
    pub timeout: Duration,
    /// `sqlite_wal`: new files get a write-ahead log.
    pub wal: bool,
    /// Of new files and directories.
    pub permissions: Permissions,
}

impl Default for FileOptions {
    fn default() -> FileOptions {
        FileOptions { timeout: Duration::from_secs(30), wal: false, permissions: Permissions::default() }
    }
}

/// How often it is looked whether a file is still the same, in milliseconds.
const LOOK_EVERY: u64 = 1000;

/// How often a locked file is tried again. SQLite's own pace gets slower, and a reader then misses the moments between the
/// transactions of a busy writer.
const POLL: Duration = Duration::from_millis(2);

/// So long the threads of this process let each other pass at a commit; then SQLite's locks decide.
const COURTESY: Duration = Duration::from_millis(50);

/// The same complaint about a file is made once in this time.
const COMPLAIN_EVERY: Duration = Duration::from_secs(60);

/// Pages that a connection keeps, in KiB: enough for the inner pages of an index. Tiles are in the kernel's cache.
const PAGE_CACHE: i32 = 512;

/// What tells one file from another in its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Identity {
    device: u64,
    inode: u64,
}

/// What tells that a file was written to.
type Stamp = (u64, i64, i64);

#[derive(Debug, Default)]
struct Watch {
    identity: Option<Identity>,
    /// Of a file opened as one that nobody changes.
    stamp: Option<Stamp>,
}

#[derive(Debug)]
struct Reader {
    counted: Counted,
    generation: u64,
}

#[derive(Debug, Default)]
struct Readers {
    idle: Vec<Reader>,
    /// Threads that read now.
    active: usize,
    /// A thread is about to commit: new readers let it pass.
    is_commit_due: bool,
}

#[derive(Debug, Default)]
struct WriterSlot {
    taken: bool,
    connection: Option<(Counted, Identity)>,
}

/// One SQLite file.
#[derive(Debug)]
pub(crate) struct Database {
    path: PathBuf,
    pool: Arc<Pool>,
    /// Counts the files seen at this path; connections of former ones are not used again.
    generation: AtomicU64,
    watch: Mutex<Watch>,
    looked: AtomicU64,
    readers: Mutex<Readers>,
    readers_changed: Condvar,
    writer: Mutex<WriterSlot>,
    writer_is_free: Condvar,
    complained: Mutex<Option<(Discriminant<Trouble>, Instant)>>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Database {
    pub(super) fn new(path: PathBuf, pool: Arc<Pool>) -> Database {
        Database {
            path,
            pool,
            generation: AtomicU64::new(0),
            watch: Mutex::default(),
            looked: AtomicU64::new(0),
            readers: Mutex::default(),
            readers_changed: Condvar::new(),
            writer: Mutex::default(),
            writer_is_free: Condvar::new(),
            complained: Mutex::default(),
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// When it was last read, by the pool's clock and to the second.
    pub(super) fn last_used(&self) -> u64 {
        self.looked.load(Ordering::Relaxed)
    }

    /// A number that changes when another file is put into this one's place, as far as that was noticed.
    pub(super) fn generation(&self) -> u64 {
        let now = self.pool.millis();
        let generation = self.generation.load(Ordering::Acquire);
        if generation == 0 || now.saturating_sub(self.looked.load(Ordering::Relaxed)) >= LOOK_EVERY {
            self.looked.store(now, Ordering::Relaxed);
            self.look();
            return self.generation.load(Ordering::Acquire);
        }
        generation
    }

    /// Runs `work` on a connection that reads, waiting up to `wait` for others to unlock the file.
    pub(super) fn read<T>(
        &self,
        wait: Duration,
        work: impl Fn(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, Trouble> {
        let mut begun = None;
        let mut repaired = false;
        loop {
            let error = match self.try_read(&work) {
                Ok(value) => return Ok(value),
                Err(error) => error,
            };
            match error {
                Trouble::Busy if wait > Duration::ZERO => {
                    if begun.get_or_insert_with(Instant::now).elapsed() >= wait {
                        return Err(Trouble::Busy);
                    }
                    std::thread::sleep(POLL);
                }
                Trouble::NeedsWriter(_) if !repaired && wait > Duration::ZERO => {
                    repaired = true;
                    self.repair(wait).map_err(|_| error)?;
                }
                error => return Err(error),
            }
        }
    }

    fn try_read<T>(&self, work: impl Fn(&Connection) -> rusqlite::Result<T>) -> Result<T, Trouble> {
        let generation = self.generation();
        let mut reading = self.begin_reading();
        let reader = match reading.reader.take().filter(|reader| reader.generation == generation) {
            Some(reader) => reader,
            None => self.open_reader()?,
        };
        // A connection in trouble is closed.
        let value = work(&reader.counted.connection)?;
        if reader.generation == self.generation.load(Ordering::Acquire) {
            reading.reader = Some(reader);
        }
        Ok(value)
    }

    /// Waits for a commit that is due; it would lock us out, or we it.
    fn begin_reading(&self) -> Reading<'_> {
        let readers = locked(&self.readers);
        let (mut readers, _) = self
            .readers_changed
            .wait_timeout_while(readers, COURTESY, |readers| readers.is_commit_due)
            .unwrap_or_else(PoisonError::into_inner);
        readers.active += 1;
        Reading { database: self, reader: readers.idle.pop() }
    }

    /// Ends a transaction when no thread of this process reads. Where the file has a log nobody is in the way.
    fn commit(&self, transaction: Transaction<'_>) -> rusqlite::Result<()> {
        let mode: String = transaction.pragma_query_value(None, "journal_mode", |row| row.get(0))?;
        if mode == "wal" {
            return transaction.commit();
        }
        let mut readers = locked(&self.readers);
        readers.is_commit_due = true;
        let waited = self.readers_changed.wait_timeout_while(readers, COURTESY, |readers| readers.active > 0);
        drop(waited);
        let committed = transaction.commit();
        locked(&self.readers).is_commit_due = false;
        self.readers_changed.notify_all();
        committed
    }

    /// Runs `work` in a transaction of its own, alone among the threads of this process. A missing file is made first,
    /// and `prepare` called on it. Waits for others until `options.timeout` is over.
    pub(super) fn write<T>(
        &self,
        options: &FileOptions,
        prepare: &dyn Fn(&Connection) -> Result<(), Trouble>,
        work: impl Fn(&Connection) -> Result<T, Trouble>,
    ) -> Result<T, Trouble> {
        let deadline = Instant::now() + options.timeout;
        let mut turn = self.take_writer(deadline)?;
        loop {
            match self.try_write(&mut turn.connection, deadline, options, prepare, &work) {
                Err(Trouble::Busy) if Instant::now() < deadline => std::thread::sleep(POLL),
                Err(trouble) => {
                    turn.connection = None;
                    return Err(trouble);
                }
                done => return done,
            }
        }
    }

    fn try_write<T>(
        &self,
        slot: &mut Option<(Counted, Identity)>,
        deadline: Instant,
        options: &FileOptions,
        prepare: &dyn Fn(&Connection) -> Result<(), Trouble>,
        work: &impl Fn(&Connection) -> Result<T, Trouble>,
    ) -> Result<T, Trouble> {
        let now = match identity_of(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                slot.take();
                self.create(deadline, options, prepare)?;
                identity_of(&self.path)?
            }
            identity => identity?,
        };
        let (counted, _) = match slot.take() {
            Some(open) if open.1 == now => slot.insert(open),
            _ => slot.insert((self.open_writer(OpenFlags::empty(), deadline)?, now)),
        };
        let connection = &mut counted.connection;
        connection.busy_timeout(deadline.saturating_duration_since(Instant::now()))?;
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let value = work(&transaction)?;
        self.commit(transaction)?;
        Ok(value)
    }

    /// Bytes of pages that hold nothing, and of all pages.
    pub(super) fn unused(&self, options: &FileOptions) -> Result<(u64, u64), Trouble> {
        self.read(options.timeout, |connection| {
            let number = |name: &str| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
            let page = number("page_size")?;
            let bytes = |pages: i64| u64::try_from(pages.saturating_mul(page)).unwrap_or(0);
            Ok((bytes(number("freelist_count")?), bytes(number("page_count")?)))
        })
    }

    /// Writes the file anew without pages that hold nothing. Who dies meanwhile leaves a journal, by which the next one to
    /// open the file restores it. Needs up to twice the file's size on the disk for that time.
    pub(super) fn vacuum(&self, options: &FileOptions) -> Result<(), Trouble> {
        let deadline = Instant::now() + options.timeout;
        let _turn = self.take_writer(deadline)?;
        let counted = self.open_writer(OpenFlags::empty(), deadline)?;
        loop {
            match counted.connection.execute_batch("VACUUM").map_err(Trouble::from) {
                Err(Trouble::Busy) if Instant::now() < deadline => std::thread::sleep(POLL),
                result => return result,
            }
        }
    }

    /// Removes the file with its log, or nothing if it stays locked.
    pub(super) fn remove_file(&self, options: &FileOptions) -> Result<(), Trouble> {
        if !self.path.exists() {
            return Ok(());
        }
        let no_preparation = |_: &Connection| Ok(());
        // Nobody writes now, so no transaction is torn from its journal.
        let emptied = self.write(options, &no_preparation, |_| {
            for ending in ["", "-wal", "-shm", "-journal"] {
                let mut name = self.path.as_os_str().to_owned();
                name.push(ending);
                match fs::remove_file(&name) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
                    _ => {}
                }
            }
            Ok(())
        });
        self.forget();
        match emptied {
            // The file is gone, whatever ending the transaction says.
            Err(_) if !self.path.exists() => Ok(()),
            result => result,
        }
    }

    /// Tells of trouble, but not of the same all the time.
    pub(super) fn complain(&self, trouble: &Trouble) {
        let mut complained = locked(&self.complained);
        let kind = discriminant(trouble);
        if complained.is_some_and(|(last, when)| last == kind && when.elapsed() < COMPLAIN_EVERY) {
            return;
        }
        *complained = Some((kind, Instant::now()));
        log::warn!(target: "mapproxy.cache.sqlite", "{}: {trouble}; its tiles count as missing", self.path.display());
    }

    /// Closes what is not in use.
    pub(super) fn close_idle(&self) {
        drop(std::mem::take(&mut locked(&self.readers).idle));
        if let Ok(mut slot) = self.writer.try_lock() {
            slot.connection = None;
        }
    }

    /// Looks whether the file is still the one that is open.
    fn look(&self) {
        let metadata = fs::metadata(&self.path).ok();
        let identity = metadata.as_ref().map(identity);
        let mut watch = locked(&self.watch);
        let is_same = watch.identity == identity
            && watch.stamp.is_none_or(|stamp| Some(stamp) == metadata.as_ref().map(stamp_of));
        if !is_same || self.generation.load(Ordering::Acquire) == 0 {
            *watch = Watch { identity, stamp: None };
            self.generation.fetch_add(1, Ordering::AcqRel);
            drop(watch);
            self.close_idle();
        }
    }

    /// The next reader looks at the file anew.
    fn forget(&self) {
        self.looked.store(0, Ordering::Relaxed);
        self.look();
    }

    fn open_reader(&self) -> Result<Reader, Trouble> {
        // Files are exchanged rarely, and never three times while one is opened.
        for _ in 0..3 {
            let metadata = fs::metadata(&self.path)?;
            if !metadata.is_file() {
                return Err(Trouble::Other("it is a directory, not a file".to_owned()));
            }
            self.look();
            let generation = self.generation.load(Ordering::Acquire);
            let plain = self.connect(&[OpenFlags::SQLITE_OPEN_READ_ONLY], Duration::ZERO);
            let counted = match plain {
                Err(Trouble::Denied(reason)) if self.may_be_taken_as_immutable() => {
                    let counted = self
                        .connect(&[OpenFlags::SQLITE_OPEN_READ_ONLY, OpenFlags::SQLITE_OPEN_URI], Duration::ZERO)
                        .map_err(|_| Trouble::Denied(reason))?;
                    locked(&self.watch).stamp = Some(stamp_of(&metadata));
                    counted
                }
                result => result?,
            };
            if identity_of(&self.path).is_ok_and(|now| now == identity(&metadata)) {
                return Ok(Reader { counted, generation });
            }
        }
        Err(Trouble::Busy)
    }

    /// There is no log that holds tiles, and none can be made: the one case in which a file with a write-ahead log
    /// cannot be read in the ordinary way although nothing is wrong with it.
    fn may_be_taken_as_immutable(&self) -> bool {
        let is_empty = |ending: &str| {
            let mut beside = self.path.as_os_str().to_owned();
            beside.push(ending);
            fs::metadata(beside).map_or_else(|error| error.kind() == io::ErrorKind::NotFound, |file| file.len() == 0)
        };
        is_empty("-wal") && is_empty("-journal")
    }

    /// Opens the file and reads its first page, with which most faults show.
    fn connect(&self, flags: &[OpenFlags], wait: Duration) -> Result<Counted, Trouble> {
        let permit = self.pool.permit();
        let flags = flags.iter().fold(OpenFlags::SQLITE_OPEN_NO_MUTEX, |all, flag| all | *flag);
        let connection = if flags.contains(OpenFlags::SQLITE_OPEN_URI) {
            Connection::open_with_flags(immutable_uri(&self.path), flags)?
        } else {
            Connection::open_with_flags(&self.path, flags)?
        };
        connection.busy_timeout(wait)?;
        connection.set_prepared_statement_cache_capacity(16);
        connection.pragma_update(None, "cache_size", -PAGE_CACHE)?;
        connection.pragma_query_value(None, "schema_version", |_| Ok(()))?;
        Ok(Counted { connection, _permit: permit })
    }

    fn open_writer(&self, extra: OpenFlags, deadline: Instant) -> Result<Counted, Trouble> {
        let wait = deadline.saturating_duration_since(Instant::now());
        let counted = self.connect(&[OpenFlags::SQLITE_OPEN_READ_WRITE, extra], wait)?;
        let mode: String = counted.connection.pragma_query_value(None, "journal_mode", |row| row.get(0))?;
        if mode == "wal" {
            // With a log this may lose the last tiles when the power fails, but damages nothing.
            counted.connection.pragma_update(None, "synchronous", "NORMAL")?;
        }
        Ok(counted)
    }

    /// Undoes what an interrupted writer has left, which takes a connection that may write.
    fn repair(&self, wait: Duration) -> Result<(), Trouble> {
        self.open_writer(OpenFlags::empty(), Instant::now() + wait).map(drop)
    }

    /// Makes the file, while no other process of ours or of a Python MapProxy does.
    fn create(
        &self,
        deadline: Instant,
        options: &FileOptions,
        prepare: &dyn Fn(&Connection) -> Result<(), Trouble>,
    ) -> Result<(), Trouble> {
        create_directories(parent(&self.path), options.permissions)?;
        let mut lock = self.path.as_os_str().to_owned();
        lock.push(".init.lck");
        let wait = deadline.saturating_duration_since(Instant::now());
        let _lock = lock_file(Path::new(&lock), wait, options.permissions).map_err(|error| match error {
            LockError::Timeout { .. } => Trouble::Busy,
            LockError::File { .. } => Trouble::Denied(error.to_string()),
        })?;
        if self.path.exists() {
            return Ok(());
        }
        log::info!(target: "mapproxy.cache.sqlite", "creating {}", self.path.display());
        let mut counted = self.open_writer(OpenFlags::SQLITE_OPEN_CREATE, deadline)?;
        if let Some(mode) = options.permissions.file {
            fs::set_permissions(&self.path, fs::Permissions::from_mode(mode))?;
        }
        if options.wal {
            self.turn_on_log(&counted.connection);
        }
        let transaction = counted.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        prepare(&transaction)?;
        transaction.commit()?;
        drop(counted);
        self.forget();
        Ok(())
    }

    fn turn_on_log(&self, connection: &Connection) {
        let mode: rusqlite::Result<String> =
            connection.pragma_update_and_check(None, "journal_mode", "wal", |row| row.get(0));
        let why = match mode {
            Ok(mode) if mode == "wal" => return,
            Ok(mode) => format!("SQLite stays with journal mode {mode}"),
            Err(error) => error.to_string(),
        };
        log::warn!(
            target: "mapproxy.cache.sqlite",
            "{}: sqlite_wal is not possible on this file system ({why}); the file is made without a write-ahead log",
            self.path.display()
        );
    }

    /// The connection that writes, once no other thread has it.
    fn take_writer(&self, deadline: Instant) -> Result<Turn<'_>, Trouble> {
        let mut slot = locked(&self.writer);
        while slot.taken {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(Trouble::Busy);
            }
            slot = self.writer_is_free.wait_timeout(slot, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        slot.taken = true;
        Ok(Turn { database: self, connection: slot.connection.take() })
    }
}

/// A thread that reads, with a connection that it may use.
struct Reading<'a> {
    database: &'a Database,
    reader: Option<Reader>,
}

impl Drop for Reading<'_> {
    fn drop(&mut self) {
        let mut readers = locked(&self.database.readers);
        readers.active -= 1;
        readers.idle.extend(self.reader.take());
        let is_waited_for = readers.active == 0 && readers.is_commit_due;
        drop(readers);
        if is_waited_for {
            self.database.readers_changed.notify_all();
        }
    }
}

/// The right to write among the threads of this process.
struct Turn<'a> {
    database: &'a Database,
    connection: Option<(Counted, Identity)>,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        *locked(&self.database.writer) = WriterSlot { taken: false, connection: self.connection.take() };
        self.database.writer_is_free.notify_one();
    }
}

fn identity(metadata: &fs::Metadata) -> Identity {
    Identity { device: metadata.dev(), inode: metadata.ino() }
}

fn identity_of(path: &Path) -> io::Result<Identity> {
    fs::metadata(path).map(|metadata| identity(&metadata))
}

fn stamp_of(metadata: &fs::Metadata) -> Stamp {
    (metadata.size(), metadata.mtime(), metadata.mtime_nsec())
}

/// The file as one that nobody changes.
fn immutable_uri(path: &Path) -> String {
    let mut uri = "file:".to_owned();
    for byte in path.as_os_str().as_bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'.' | b'_' | b'-' => uri.push(char::from(*byte)),
            _ => uri.push_str(&format!("%{byte:02X}")),
        }
    }
    uri + "?immutable=1"
}
