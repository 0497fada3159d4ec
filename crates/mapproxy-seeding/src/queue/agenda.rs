//! One task of a run as an agenda: two threads talk to the server, so that workers never wait for it longer than need be.
//!
//! The **keeper** says that we are alive, brings work for about the next second, and tells what came of work. The
//! **filler** walks the task while it is this machine's turn. While the server is away both try again, ever more slowly;
//! workers do what has been brought, and what came of it is told when the server is back.

use std::collections::{HashSet, VecDeque};
use std::fmt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use redis::Value;

use super::link::{Link, Script, Trouble};
use super::{JointTotals, Queue, entry, prefix, text_of};
use crate::{Agenda, AgendaError, Claim, Counts, Outcome, Position, SeedTask, Stop, TileWalk, Work};

macro_rules! script {
    ($file:literal) => {
        concat!(include_str!("lua/common.lua"), include_str!("lua/task.lua"), include_str!($file))
    };
}
const BEAT: Script = script!("lua/beat.lua");
const CLAIM: Script = script!("lua/claim.lua");
const FILL: Script = script!("lua/fill.lua");
const FINISH: Script = script!("lua/finish.lua");
const LEAVE: Script = script!("lua/leave.lua");
const REFILL: Script = script!("lua/refill.lua");

/// Entries in the stream at most; the filler waits when there are more.
const MOST_IN_STREAM: u64 = 8192;

/// Pieces put into the stream at once, once the first are there.
const PORTION: usize = 256;

/// Pieces brought at once at most.
const MOST_BROUGHT: usize = 512;

/// Pieces whose end is told at once at most.
const MOST_TOLD: usize = 512;

/// Pieces whose end is told without waiting for more.
const MANY: usize = 128;

/// The longest between two looks at what there is to do.
const TICK: Duration = Duration::from_millis(100);

/// How soon others see what has been done, where nothing else is said to the server.
const TELL: Duration = Duration::from_millis(300);

/// How often the server is asked for work when it has none.
const PAUSES: (Duration, Duration) = (Duration::from_millis(20), Duration::from_millis(500));

/// How often a server is tried that is away.
const AWAY: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// How long the end may take when the server does not answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// Work that ended the process that took it on is not given out for ever: it may be what ends them.
const DEATHS: u32 = 5;

/// A reason is for people, and there may be many.
const REASON: usize = 300;

/// A walk, as far as filling the queue needs one.
pub(super) trait Walk: Iterator<Item = Work> {
    /// Where it goes on behind the piece that was last returned.
    fn place(&self) -> String;
    /// How much is behind it: 0 to 1.
    fn share(&self) -> f64;
}

impl Walk for TileWalk {
    fn place(&self) -> String {
        self.position().to_string()
    }
    fn share(&self) -> f64 {
        self.fraction()
    }
}

/// Begins a walk, or goes on with one at a position that another machine has reached.
type WalkFrom = Box<dyn Fn(Option<&str>) -> Result<Box<dyn Walk>, String> + Send>;

/// The work of one task, of which this machine does a part. Dropping it gives back what is not done.
pub struct QueueAgenda {
    shared: Arc<Shared>,
}

struct Shared {
    queue: Arc<Queue>,
    task: usize,
    stop: Stop,
    state: Mutex<State>,
    /// Something has come for workers.
    brought: Condvar,
    /// There is something to do for the keeper or the filler, or something of theirs has changed.
    wanted: Condvar,
}

#[derive(Default)]
struct State {
    /// Brought and taken by nobody yet.
    waiting: VecDeque<Claim>,
    /// Being done.
    taken: HashSet<String>,
    /// Not told yet.
    ended: Vec<Ended>,
    /// Workers with nothing to do.
    idle: usize,
    /// Pieces that ended here since work was last brought.
    ended_since: usize,
    totals: JointTotals,
    /// All machines have done all.
    is_over: bool,
    error: Option<AgendaError>,
    is_closing: bool,
    /// There is something in the stream that was not there when work was last brought.
    has_filled: bool,
    /// Threads that have ended.
    gone: usize,
    turn: Turn,
}

/// Whether and where this machine walks.
#[derive(Default)]
struct Turn {
    is_ours: bool,
    in_stream: u64,
    position: String,
    to_retry: u64,
}

struct Ended {
    id: String,
    tiles: usize,
    outcome: Outcome,
}

impl fmt::Debug for QueueAgenda {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Shared { queue, task, .. } = &*self.shared;
        f.debug_struct("QueueAgenda").field("queue", queue).field("task", task).finish_non_exhaustive()
    }
}

impl Queue {
    /// The work of a task: the one that is at this place among those the run was joined with.
    pub fn agenda(self: &Arc<Self>, place: usize, task: &SeedTask, stop: &Stop) -> Result<QueueAgenda, AgendaError> {
        let task = task.clone();
        let walk = move |position: Option<&str>| {
            let walk = match position {
                None => TileWalk::new(&task),
                Some(text) => TileWalk::resume(&task, &text.parse::<Position>().map_err(|error| error.to_string())?),
            };
            walk.map(|walk| -> Box<dyn Walk> { Box::new(walk) }).map_err(|error| error.to_string())
        };
        self.agenda_of(place, Box::new(walk), stop)
    }

    pub(super) fn agenda_of(
        self: &Arc<Self>,
        task: usize,
        walk: WalkFrom,
        stop: &Stop,
    ) -> Result<QueueAgenda, AgendaError> {
        let shared = Arc::new(Shared {
            queue: Arc::clone(self),
            task,
            stop: stop.clone(),
            state: Mutex::default(),
            brought: Condvar::new(),
            wanted: Condvar::new(),
        });
        let link = || Link::new(&self.address).map_err(|reason| self.error(reason));
        let keeper = Keeper {
            voice: Voice { shared: Arc::clone(&shared), link: link()?, pause: AWAY.0, is_away: false },
            next_beat: Instant::now(),
            next_claim: Instant::now(),
            last_claim: Instant::now(),
            last_told: Instant::now(),
            claim_pause: PAUSES.0,
        };
        let filler = Filler {
            voice: Voice { shared: Arc::clone(&shared), link: link()?, pause: AWAY.0, is_away: false },
            walk_from: walk,
        };
        let start = |name: &str, run: Box<dyn FnOnce() + Send>| {
            let shared = Arc::clone(&shared);
            let thread = thread::Builder::new().name(name.to_owned()).spawn(move || {
                run();
                shared.lock().gone += 1;
                shared.wanted.notify_all();
            });
            thread.map(drop).map_err(|error| self.error(format!("cannot start a thread: {error}")))
        };
        let agenda = QueueAgenda { shared: Arc::clone(&shared) };
        start("queue-keeper", Box::new(move || keeper.run()))?;
        start("queue-filler", Box::new(move || filler.run()))?;
        Ok(agenda)
    }
}

impl QueueAgenda {
    /// What all machines together have done.
    pub fn totals(&self) -> JointTotals {
        self.shared.lock().totals
    }

    /// As if the process were killed: nothing more is said to the server.
    #[cfg(test)]
    pub(super) fn die(self) {
        self.shared.fail(self.shared.queue.error("dead".to_owned()));
        std::mem::forget(self);
    }

    #[cfg(test)]
    pub(super) fn in_stream(&self) -> u64 {
        self.shared.lock().turn.in_stream
    }
}

impl Agenda for QueueAgenda {
    fn next(&self, stop: &Stop) -> Result<Option<Claim>, AgendaError> {
        let mut state = self.shared.lock();
        loop {
            if let Some(error) = &state.error {
                return Err(error.clone());
            }
            if state.is_over || stop.is_asked() || self.shared.stop.is_asked() {
                return Ok(None);
            }
            if let Some(claim) = state.waiting.pop_front() {
                state.taken.insert(claim.id.clone());
                return Ok(Some(claim));
            }
            state.idle += 1;
            self.shared.wanted.notify_all();
            // A look at `stop` between: it wakes nobody here.
            state = self.shared.brought.wait_timeout(state, TICK / 2).unwrap_or_else(PoisonError::into_inner).0;
            state.idle -= 1;
        }
    }

    fn finish(&self, claim: &Claim, outcome: &Outcome) -> Result<(), AgendaError> {
        let mut state = self.shared.lock();
        if state.taken.remove(&claim.id) {
            let ended = Ended { id: claim.id.clone(), tiles: claim.work.tiles.len(), outcome: outcome.clone() };
            state.ended.push(ended);
            state.ended_since += 1;
            if state.ended.len() == MANY {
                self.shared.wanted.notify_all();
            }
        }
        match &state.error {
            Some(error) => Err(error.clone()),
            None => Ok(()),
        }
    }

    fn fraction(&self) -> f64 {
        self.shared.lock().totals.fraction
    }
}

impl Drop for QueueAgenda {
    fn drop(&mut self) {
        let until = Instant::now() + PATIENCE;
        let mut state = self.shared.lock();
        state.is_closing = true;
        self.shared.wanted.notify_all();
        while state.gone < 2 {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                // Others find out by our silence.
                log::warn!(
                    target: "mapproxy.seed",
                    "{}: the server does not answer; {} pieces of work that are done here will be looked at again",
                    self.shared.queue.address.server(),
                    state.ended.len(),
                );
                return;
            }
            state = self.shared.wanted.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn fail(&self, error: AgendaError) {
        let mut state = self.lock();
        state.error.get_or_insert(error);
        self.brought.notify_all();
        self.wanted.notify_all();
    }
}

/// How a thread speaks to the server.
struct Voice {
    shared: Arc<Shared>,
    link: Link,
    pause: Duration,
    is_away: bool,
}

/// Nobody needs the thread any more: an error is told to all, or the agenda is closed.
struct Enough;

impl Voice {
    /// Asks once; `None`: the server is away, which was waited for a while.
    fn ask(&mut self, script: Script, more: Vec<String>) -> Result<Option<Value>, Enough> {
        let Shared { queue, task, .. } = &*self.shared;
        let prefix = prefix(&queue.name);
        let lease = queue.address.lease.as_millis().to_string();
        let mut arguments = vec![prefix.clone(), queue.id.clone(), task.to_string(), queue.me.clone(), lease];
        arguments.extend(more);
        match self.link.run(script, &format!("{prefix}run"), &arguments) {
            Ok(value) => {
                if std::mem::take(&mut self.is_away) {
                    log::info!(target: "mapproxy.seed", "{} is back", queue.address.server());
                }
                self.pause = AWAY.0;
                Ok(Some(value))
            }
            Err(Trouble::Away(reason)) => {
                if !std::mem::replace(&mut self.is_away, true) {
                    log::warn!(target: "mapproxy.seed", "{}: {reason}; waiting for it", queue.address.server());
                }
                let state = self.shared.lock();
                let pause = if state.is_closing { AWAY.0 } else { self.pause };
                let was_closing = state.is_closing;
                drop(self.shared.wanted.wait_timeout_while(state, pause, |state| state.is_closing == was_closing));
                self.pause = (self.pause * 2).min(AWAY.1);
                Ok(None)
            }
            Err(trouble) => {
                self.shared.fail(queue.trouble(&trouble));
                Err(Enough)
            }
        }
    }
}

struct Keeper {
    voice: Voice,
    next_beat: Instant,
    next_claim: Instant,
    last_claim: Instant,
    last_told: Instant,
    claim_pause: Duration,
}

impl Keeper {
    fn run(mut self) {
        let mut closing_since = None;
        while self.turn().is_ok() {
            let state = self.voice.shared.lock();
            if state.error.is_some() {
                // Nothing more is done here; others find out by our silence.
                return;
            }
            if state.is_closing {
                let since = *closing_since.get_or_insert_with(Instant::now);
                if state.ended.is_empty() && state.waiting.is_empty() {
                    drop(state);
                    let _ = self.voice.ask(LEAVE, Vec::new());
                    return;
                }
                if since.elapsed() > PATIENCE {
                    return;
                }
            }
        }
    }

    /// Waits until there is something to do, and does it.
    fn turn(&mut self) -> Result<(), Enough> {
        let shared = Arc::clone(&self.voice.shared);
        let state = shared.lock();
        let has_to_do = |state: &State| {
            let wants = state.idle > 0 && state.waiting.is_empty() && Instant::now() >= self.next_claim;
            (wants && !state.is_over) || state.has_filled || state.ended.len() >= MANY || state.is_closing
        };
        let (state, _) = shared
            .wanted
            .wait_timeout_while(state, TICK, |state| !has_to_do(state))
            .unwrap_or_else(PoisonError::into_inner);
        let is_ending = state.is_closing || shared.stop.is_asked();
        drop(state);
        if is_ending {
            self.give_back();
        }
        if Instant::now() >= self.next_beat {
            self.beat(!is_ending)?;
        }
        let mut state = shared.lock();
        if std::mem::take(&mut state.has_filled) {
            (self.next_claim, self.claim_pause) = (Instant::now(), PAUSES.0);
        }
        let needs_work =
            !state.is_over && !is_ending && state.error.is_none() && state.waiting.len() < self.low(&state);
        let needs_work = needs_work && Instant::now() >= self.next_claim;
        let is_much = state.ended.len() >= MANY;
        let is_due = is_much || needs_work || is_ending || self.last_told.elapsed() >= TELL;
        let has_ended = !state.ended.is_empty();
        drop(state);
        if is_due && has_ended {
            self.tell()?;
        }
        if needs_work {
            self.claim()?;
        }
        Ok(())
    }

    /// Work that is brought in one go: what is done here in about a second.
    fn high(&self, state: &State) -> usize {
        let seconds = self.last_claim.elapsed().as_secs_f64().max(0.01);
        ((state.ended_since as f64 / seconds) as usize + state.idle).clamp(1, MOST_BROUGHT)
    }

    /// More is brought as soon as less than this is there.
    fn low(&self, state: &State) -> usize {
        if state.idle > 0 { state.idle.max(1) } else { self.high(state) / 4 }
    }

    fn give_back(&mut self) {
        let mut state = self.voice.shared.lock();
        let state = &mut *state;
        let back = state.waiting.drain(..);
        let back = back.map(|claim| Ended { tiles: claim.work.tiles.len(), id: claim.id, outcome: Outcome::NotDone });
        state.ended.extend(back);
    }

    fn tell(&mut self) -> Result<(), Enough> {
        let ended: Vec<Ended> = {
            let mut state = self.voice.shared.lock();
            let count = state.ended.len().min(MOST_TOLD);
            state.ended.drain(..count).collect()
        };
        let arguments = ended.iter().flat_map(Ended::arguments).collect();
        let answer = self.voice.ask(FINISH, arguments);
        if !matches!(answer, Ok(Some(_))) {
            // Told again; the server counts each piece once.
            self.voice.shared.lock().ended.splice(..0, ended);
        }
        self.last_told = Instant::now();
        answer.map(drop)
    }

    fn claim(&mut self) -> Result<(), Enough> {
        let mut arguments = {
            let mut state = self.voice.shared.lock();
            let most = self.high(&state).saturating_sub(state.waiting.len()).max(1);
            state.ended_since = 0;
            let mut arguments = vec![most.to_string(), state.idle.max(1).to_string(), DEATHS.to_string()];
            arguments.extend(state.waiting.iter().map(|claim| claim.id.clone()));
            arguments.extend(state.taken.iter().cloned());
            arguments.extend(state.ended.iter().map(|ended| ended.id.clone()));
            arguments
        };
        arguments.shrink_to_fit();
        self.last_claim = Instant::now();
        let Some(answer) = self.voice.ask(CLAIM, arguments)? else { return Ok(()) };
        let Value::Array(answer) = answer else { return Ok(()) };
        let is_over = matches!(answer.first(), Some(Value::Int(1)));
        let mut claims = Vec::with_capacity(answer.len() / 2);
        for pair in answer.get(1..).unwrap_or_default().chunks_exact(2) {
            let (id, text) = (text_of(&pair[0]), text_of(&pair[1]));
            let Some(work) = entry::parse(&text) else {
                let queue = &self.voice.shared.queue;
                self.voice.shared.fail(queue.error(format!("holds what is no work: {text}")));
                return Err(Enough);
            };
            claims.push(Claim { work, id });
        }
        if claims.is_empty() {
            self.next_claim = Instant::now() + self.claim_pause;
            self.claim_pause = (self.claim_pause * 2).min(PAUSES.1);
        } else {
            self.claim_pause = PAUSES.0;
        }
        if is_over {
            // The last word on what all have done.
            while self.beat(false)?.is_none() {
                if self.voice.shared.lock().is_closing {
                    break;
                }
            }
        }
        let mut state = self.voice.shared.lock();
        // What has ended meanwhile was in our hands when we asked, and is told to the server in a moment.
        let state = &mut *state;
        state.waiting.extend(claims);
        state.is_over |= is_over;
        self.voice.shared.brought.notify_all();
        Ok(())
    }

    /// Says that we are alive, and would walk if nobody does.
    fn beat(&mut self, would_walk: bool) -> Result<Option<()>, Enough> {
        let lease = self.voice.shared.queue.address.lease;
        self.next_beat = Instant::now() + (lease / 4).min(Duration::from_secs(1));
        let Some(answer) = self.voice.ask(BEAT, vec![u8::from(would_walk).to_string()])? else { return Ok(None) };
        let Value::Array(answer) = answer else { return Ok(None) };
        let [turn, in_stream, position, Value::Array(totals)] = answer.as_slice() else { return Ok(None) };
        let number = |at: usize| totals.get(at).and_then(|value| text_of(value).parse::<f64>().ok()).unwrap_or(0.0);
        let whole = |at: usize| number(at).max(0.0) as u64;
        let (pieces, added, is_over) = (number(0), number(7), whole(12) == 1);
        let [made, kept, empty, failed] = [1, 2, 3, 4].map(whole);
        let counts = Counts {
            pieces: whole(0),
            tiles: made + kept + empty + failed,
            made,
            kept,
            empty,
            failed,
            failed_pieces: whole(9),
            retries: 0,
            bytes: whole(5),
        };
        let fraction = match () {
            () if is_over => 1.0,
            () if added > 0.0 => number(8) * (pieces / added).clamp(0.0, 1.0),
            () => 0.0,
        };
        let mut state = self.voice.shared.lock();
        state.totals = JointTotals { counts, redelivered: whole(6), machines: whole(11), fraction };
        let turn = Turn {
            is_ours: matches!(turn, Value::Int(1)),
            in_stream: text_of(in_stream).parse().unwrap_or(0),
            position: text_of(position),
            to_retry: whole(10),
        };
        state.turn = turn;
        self.voice.shared.wanted.notify_all();
        Ok(Some(()))
    }
}

impl Ended {
    fn arguments(&self) -> [String; 7] {
        let (what, numbers, reason) = match &self.outcome {
            Outcome::Done { made, kept, bytes } => ("done", [*made, *kept, *bytes], String::new()),
            Outcome::Failed { reason } => ("failed", [0; 3], reason.chars().take(REASON).collect()),
            Outcome::NotDone => ("back", [0; 3], String::new()),
        };
        let [made, kept, bytes] = numbers.map(|number| number.to_string());
        [self.id.clone(), what.to_owned(), made, kept, bytes, self.tiles.to_string(), reason]
    }
}

struct Filler {
    voice: Voice,
    walk_from: WalkFrom,
}

/// A walk, and the pieces of it that are not in the stream yet.
struct Walking {
    walk: Box<dyn Walk>,
    /// Where the stream ends.
    position: String,
    pieces: Vec<String>,
    portion: usize,
    is_over: bool,
}

impl Filler {
    fn run(mut self) {
        let mut walking = None;
        while self.turn(&mut walking).is_ok() {}
    }

    fn turn(&mut self, walking: &mut Option<Walking>) -> Result<(), Enough> {
        let shared = Arc::clone(&self.voice.shared);
        let state = shared.lock();
        let may_fill = |state: &State| state.turn.is_ours && state.turn.in_stream < MOST_IN_STREAM;
        let has_to_do = |state: &State| may_fill(state) || state.is_closing || state.is_over || state.error.is_some();
        let (state, _) = shared
            .wanted
            .wait_timeout_while(state, TICK, |state| !has_to_do(state))
            .unwrap_or_else(PoisonError::into_inner);
        if state.is_closing || state.is_over || state.error.is_some() || shared.stop.is_asked() {
            return Err(Enough);
        }
        if !state.turn.is_ours {
            // Another machine may walk on meanwhile.
            *walking = None;
        }
        if !may_fill(&state) {
            return Ok(());
        }
        let (position, to_retry) = (state.turn.position.clone(), state.turn.to_retry);
        drop(state);
        if to_retry > 0 {
            let left = self.voice.ask(REFILL, vec![PORTION.to_string()])?;
            if let Some(left) = left {
                let mut state = shared.lock();
                state.turn.to_retry = text_of(&left).parse().unwrap_or(0);
                state.turn.in_stream += PORTION as u64;
                state.has_filled = true;
                shared.wanted.notify_all();
                // The next beat says whether there is something to walk as well.
                state.turn.is_ours = state.turn.to_retry > 0;
            }
            return Ok(());
        }
        let mut walk = match walking.take() {
            Some(walk) => walk,
            None => {
                let from = (!position.is_empty()).then_some(position.as_str());
                let walk = (self.walk_from)(from).map_err(|reason| self.failed(&reason))?;
                Walking { walk, position, pieces: Vec::new(), portion: 16, is_over: false }
            }
        };
        walk.gather(&shared);
        let after = walk.walk.place();
        let mut arguments = vec![
            walk.position.clone(),
            after.clone(),
            walk.walk.share().to_string(),
            u8::from(walk.is_over).to_string(),
        ];
        arguments.extend(walk.pieces.iter().cloned());
        let Some(answer) = self.voice.ask(FILL, arguments)? else {
            *walking = Some(walk);
            return Ok(());
        };
        let mut state = shared.lock();
        state.has_filled = true;
        shared.wanted.notify_all();
        match answer {
            Value::Int(in_stream) if !walk.is_over => {
                walk.position = after;
                walk.pieces.clear();
                state.turn.in_stream = in_stream.unsigned_abs();
                *walking = Some(walk);
            }
            // All is walked; or our turn is over, or the server knows less than we: the next beat says how to go on.
            _ => state.turn.is_ours = false,
        }
        Ok(())
    }

    fn failed(&self, reason: &str) -> Enough {
        let queue = &self.voice.shared.queue;
        self.voice.shared.fail(queue.error(reason.to_owned()));
        Enough
    }
}

impl Walking {
    /// The next portion, unless it is there from a try before.
    fn gather(&mut self, shared: &Shared) {
        if !self.pieces.is_empty() || self.is_over {
            return;
        }
        while self.pieces.len() < self.portion && !shared.stop.is_asked() {
            let Some(work) = self.walk.next() else {
                self.is_over = true;
                break;
            };
            self.pieces.push(entry::print(&work));
        }
        self.portion = (self.portion * 2).min(PORTION);
    }
}
