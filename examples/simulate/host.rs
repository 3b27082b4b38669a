//! A host: a process of its own, with its own runtime, in its own time.
//!
//! Its runtime's clock is paused, so it runs as fast as it can, and never further than the world lets it: up to its next
//! request, or the next answer or command that it is to meet.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use doclock::{
    AcquireOutcome, AcquireRequest, Backend, Clock, Error, ErrorKind, Key, LockRecord, Moment,
    ReleaseOutcome, ReleaseRequest, RenewOutcome, RenewRequest, Result, Timestamp,
};
use tokio::runtime::Runtime;
use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

use crate::database::{Answer, Ask};
use crate::history::{Event, What};
use crate::{EPOCH, MS};

/// The clocks of a host, in nanoseconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clocks {
    /// How much faster than the truth they run, in millionths.
    pub(crate) drift: i64,
    /// How far the wall clock is off when it starts.
    pub(crate) wall_off: i64,
}

/// What the world and the code that runs on a host share.
pub(crate) struct Body {
    pub(crate) client: u32,
    clocks: Clocks,
    state: Mutex<State>,
    sent: Notify,
}

struct State {
    /// Where tokio's clock started; `None` while nothing runs here.
    origin: Option<Instant>,
    local: u64,
    /// An instant of the truth, and what tokio's clock showed then.
    anchor: (u64, u64),
    wall: i64,
    last_reading: u64,
    outbox: Vec<Letter>,
    events: Vec<Event>,
    done: bool,
}

/// A request that was sent.
pub(crate) struct Letter {
    /// When, in truth.
    pub(crate) at: u64,
    pub(crate) ask: Ask,
    pub(crate) reply: Option<oneshot::Sender<Result<Answer>>>,
}

impl Body {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// The truth, as no process can know it.
    pub(crate) fn now(&self) -> u64 {
        self.truth(&mut self.state())
    }

    fn truth(&self, state: &mut State) -> u64 {
        let (truth, local) = state.anchor;
        let rate = u64::try_from(1_000_000 + self.clocks.drift).unwrap();
        let since = u128::from(state.read() - local) * 1_000_000 / u128::from(rate);
        truth + u64::try_from(since).unwrap()
    }

    /// What tokio's clock shows at an instant of the truth or just after it, in whole milliseconds.
    fn local_at(&self, truth: u64) -> u64 {
        let (anchor, local) = self.state().anchor;
        let rate = u64::try_from(1_000_000 + self.clocks.drift).unwrap();
        let since = u128::from(truth.saturating_sub(anchor)) * u128::from(rate);
        let at = local + u64::try_from(since.div_ceil(1_000_000)).unwrap();
        at.div_ceil(MS) * MS
    }

    pub(crate) fn tell(&self, what: What) {
        let at = self.now();
        self.tell_at(at, what);
    }

    pub(crate) fn tell_at(&self, at: u64, what: What) {
        let client = self.client;
        self.state().events.push(Event { at, client, what });
    }

    pub(crate) fn send(&self, ask: Ask, reply: Option<oneshot::Sender<Result<Answer>>>) {
        let mut state = self.state();
        let at = self.truth(&mut state);
        state.outbox.push(Letter { at, ask, reply });
        self.sent.notify_one();
    }

    /// All that it had to do is done.
    pub(crate) fn finish(&self) {
        self.state().done = true;
    }
}

impl State {
    fn read(&mut self) -> u64 {
        if let Some(origin) = self.origin {
            self.local = u64::try_from(origin.elapsed().as_nanos()).unwrap();
        }
        self.local
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "client {}", self.client)
    }
}

impl Clock for Body {
    fn now(&self) -> Moment {
        let mut state = self.state();
        let local = state.read();
        // As with a real clock, no two readings are the same: what is ordered by them has one order in every run.
        state.last_reading = local.max(state.last_reading + 1);
        let wall = state.wall + i64::try_from(local).unwrap();
        Moment {
            monotonic: Duration::from_nanos(state.last_reading),
            wall: Timestamp::from_millis(EPOCH + wall.div_euclid(i64::try_from(MS).unwrap())),
        }
    }
}

/// A host's way to the database.
#[derive(Debug)]
pub(crate) struct Wire(pub(crate) Arc<Body>);

impl Wire {
    async fn call(&self, ask: Ask, timeout: Duration) -> Result<Answer> {
        let (reply, answer) = oneshot::channel();
        self.0.send(ask, Some(reply));
        let answered = tokio::time::timeout(timeout, async {
            match answer.await {
                Ok(answer) => answer,
                Err(_) => std::future::pending().await,
            }
        });
        answered
            .await
            .unwrap_or_else(|_| Err(Error::new(ErrorKind::OutcomeUnknown, "no answer in time")))
    }
}

#[async_trait]
impl Backend for Wire {
    async fn acquire(&self, request: &AcquireRequest) -> Result<AcquireOutcome> {
        match self
            .call(Ask::Acquire(request.clone()), request.timeout)
            .await?
        {
            Answer::Acquired(outcome) => Ok(outcome),
            other => panic!("{other:?} to an acquire"),
        }
    }

    async fn renew(&self, request: &RenewRequest) -> Result<RenewOutcome> {
        match self
            .call(Ask::Renew(request.clone()), request.timeout)
            .await?
        {
            Answer::Renewed(outcome) => Ok(outcome),
            other => panic!("{other:?} to a renew"),
        }
    }

    async fn release(&self, request: &ReleaseRequest) -> Result<ReleaseOutcome> {
        match self
            .call(Ask::Release(request.clone()), request.timeout)
            .await?
        {
            Answer::Released(outcome) => Ok(outcome),
            other => panic!("{other:?} to a release"),
        }
    }

    async fn inspect(&self, _: &Key) -> Result<Option<LockRecord>> {
        Err(Error::new(ErrorKind::Unsupported, "nobody looks"))
    }

    fn hands_over(&self) -> bool {
        true
    }

    async fn setup(&self) -> Result<()> {
        Ok(())
    }
}

/// An answer that is on its way.
struct Slot {
    reply: oneshot::Sender<Result<Answer>>,
    answer: Option<Result<Answer>>,
}

/// Which answer of a host: when its clock shows what, and a number.
pub(crate) type SlotId = (u64, u64);

pub(crate) struct Host {
    pub(crate) body: Arc<Body>,
    runtime: Runtime,
    slots: BTreeMap<SlotId, Slot>,
    count: u64,
}

impl Host {
    /// Starts at an instant of the truth.
    pub(crate) fn start(client: u32, clocks: Clocks, at: u64) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        let body = Arc::new(Body {
            client,
            clocks,
            state: Mutex::new(State {
                origin: None,
                local: 0,
                anchor: (at, 0),
                wall: i64::try_from(at).unwrap() + clocks.wall_off,
                last_reading: 0,
                outbox: Vec::new(),
                events: Vec::new(),
                done: false,
            }),
            sent: Notify::new(),
        });
        Self {
            body,
            runtime,
            slots: BTreeMap::new(),
            count: 0,
        }
    }

    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.runtime.spawn(task);
    }

    /// Runs until `end` of the truth, its next answer or its next request, whichever comes first; at least for a
    /// millisecond.
    pub(crate) fn run(&mut self, end: u64) -> Vec<Letter> {
        self.deliver();
        let next = self.slots.first_key_value().map(|((due, _), _)| *due);
        let end = self.body.local_at(end);
        let until = next.map_or(end, |due| due.min(end));
        self.enter(async |body, origin| {
            let until = until.max(body.state().local + MS);
            tokio::select! {
                biased;
                () = body.sent.notified() => {}
                () = tokio::time::sleep_until(origin + Duration::from_nanos(until)) => {}
            }
        });
        std::mem::take(&mut self.body.state().outbox)
    }

    fn enter(&mut self, act: impl AsyncFnOnce(&Body, Instant)) {
        let body = &self.body;
        self.runtime.block_on(async {
            let now = Instant::now();
            let origin = {
                let mut state = body.state();
                let origin = now.checked_sub(Duration::from_nanos(state.local)).unwrap();
                *state.origin.insert(origin)
            };
            act(body, origin).await;
            let mut state = body.state();
            state.read();
            state.origin = None;
        });
    }

    fn deliver(&mut self) {
        let now = self.body.state().local;
        while let Some(first) = self.slots.first_entry().filter(|slot| slot.key().0 <= now) {
            let slot = first.remove();
            let answer = slot
                .answer
                .expect("the world answers before the host goes on");
            let _ = slot.reply.send(answer);
        }
    }

    /// An answer will come at this instant of the truth.
    pub(crate) fn expect(&mut self, at: u64, reply: oneshot::Sender<Result<Answer>>) -> SlotId {
        self.count += 1;
        let due = self.body.local_at(at);
        let id = (due, self.count);
        let answer = None;
        self.slots.insert(id, Slot { reply, answer });
        id
    }

    pub(crate) fn answer(&mut self, id: SlotId, answer: Result<Answer>) {
        if let Some(slot) = self.slots.get_mut(&id) {
            slot.answer = Some(answer);
        }
    }

    /// Stands still until this instant of the truth while its clocks run; or its monotonic one does not, if it is frozen.
    pub(crate) fn stand_still(&mut self, until: u64, frozen: bool, answers_first: bool) {
        let now = self.body.now();
        if frozen {
            let mut state = self.body.state();
            state.anchor = (until, state.local);
            state.wall += i64::try_from(until - now).unwrap();
            return;
        }
        let local = self.body.local_at(until);
        let asleep = Duration::from_nanos(local - self.body.state().local);
        if answers_first {
            self.body.state().local = local;
            self.deliver();
            self.body.state().local = local - u64::try_from(asleep.as_nanos()).unwrap();
        }
        self.enter(async |_, _| tokio::time::advance(asleep).await);
    }

    pub(crate) fn step_wall(&mut self, by: i64) {
        self.body.state().wall += by;
    }

    pub(crate) fn take_events(&self) -> Vec<Event> {
        std::mem::take(&mut self.body.state().events)
    }

    pub(crate) fn is_done(&self) -> bool {
        self.body.state().done
    }
}
