//! The world of the simulation: true time, one record behind several front ends, a network, and what goes wrong.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use fastrand::Rng;

use super::client::{Action, Client, LocalClock, Next, Record, Reply};
use super::{Bugs, EPOCH_MS, Micros, SECOND, Scenario};
use crate::time::Timestamp;

const FRONT_ENDS: usize = 4;
/// No two front ends differ by more than `clock_skew`, so each is within half of it.
const HALF_SKEW: Micros = SECOND / 4;

#[derive(Clone, Copy, Debug)]
enum Event {
    /// Only the newest timer of a client counts.
    Wake {
        client: usize,
        timer: u64,
    },
    Arrive(Request),
    Hear {
        client: usize,
        reply: Reply,
    },
    Pause {
        client: usize,
    },
    Thaw {
        client: usize,
        stood_still: Micros,
    },
    Step {
        client: usize,
    },
    Crash {
        client: usize,
    },
}

#[derive(Clone, Copy, Debug)]
struct Request {
    client: usize,
    number: u64,
    action: Action,
    /// If its process is paused, it leaves only after the thaw.
    held_back: bool,
}

/// What one or more runs came to.
#[derive(Clone, Debug, Default)]
pub(super) struct Outcome {
    pub(super) leases: usize,
    pub(super) refreshes: u64,
    pub(super) evictions: usize,
    pub(super) clamps: usize,
    /// Leases that two un-paused clients believed in at once (I3).
    pub(super) overlaps: usize,
    /// Evictions before the expiry that the record showed (I12).
    pub(super) early: usize,
    /// From a crash to the next grant, beyond the ttl.
    pub(super) takeovers: Vec<Micros>,
}

impl Outcome {
    pub(super) fn add(&mut self, other: Self) {
        self.leases += other.leases;
        self.refreshes += other.refreshes;
        self.evictions += other.evictions;
        self.clamps += other.clamps;
        self.overlaps += other.overlaps;
        self.early += other.early;
        self.takeovers.extend(other.takeovers);
    }
}

pub(super) struct World {
    scenario: Scenario,
    rng: Rng,
    now: Micros,
    events: BTreeMap<(Micros, u64), Event>,
    order: u64,
    front_ends: [Micros; FRONT_ENDS],
    record: Option<Record>,
    clients: Vec<Client>,
    timers: Vec<u64>,
    paused_until: Vec<Option<Micros>>,
    handed_out: BTreeSet<u64>,
    overlapped: BTreeSet<u64>,
    crashed: HashMap<u64, Micros>,
    ids: u64,
    outcome: Outcome,
}

impl World {
    pub(super) fn new(seed: u64, scenario: Scenario, bugs: Bugs) -> Self {
        let mut rng = Rng::with_seed(seed);
        let count = rng.usize(scenario.clients.clone());
        let clients = (0..count).map(|_| {
            let (error, rate) = (scenario.wall_error, scenario.rate_ppm);
            let wall_error = rng.i64(-error..=error) - scenario.behind;
            let local = LocalClock {
                rate_ppm: rng.i64(-rate..=rate),
                wall_error,
                frozen: 0,
            };
            Client::new(local, scenario.clone(), bugs, rng.fork())
        });
        let clients = clients.collect();
        let mut world = Self {
            front_ends: std::array::from_fn(|_| rng.i64(-HALF_SKEW..=HALF_SKEW)),
            scenario,
            rng,
            now: 0,
            events: BTreeMap::new(),
            order: 0,
            record: None,
            clients,
            timers: vec![0; count],
            paused_until: vec![None; count],
            handed_out: BTreeSet::new(),
            overlapped: BTreeSet::new(),
            crashed: HashMap::new(),
            ids: 0,
            outcome: Outcome::default(),
        };
        world.begin();
        world
    }

    fn begin(&mut self) {
        for client in 0..self.clients.len() {
            let start = self.rng.i64(0..SECOND);
            self.wake(client, start);
            self.schedule_faults(client);
        }
    }

    fn schedule_faults(&mut self, client: usize) {
        // A step back and a freeze within one lease hide each other from both clocks: out of scope, so never both.
        let steps = self.scenario.steps && !(self.scenario.freezes && self.rng.bool());
        if steps {
            self.after(8, Event::Step { client });
        } else if self.scenario.freezes {
            self.after(6, Event::Pause { client });
        }
        if self.scenario.crashes {
            self.after(20, Event::Crash { client });
        }
    }

    /// Schedules an event in up to twice as many seconds.
    fn after(&mut self, mean: i64, event: Event) {
        let wait = self.rng.i64(0..2 * mean * SECOND);
        self.at(self.now + wait, event);
    }

    fn at(&mut self, time: Micros, event: Event) {
        self.order += 1;
        self.events.insert((time, self.order), event);
    }

    fn wake(&mut self, client: usize, wait: Micros) {
        self.timers[client] += 1;
        let timer = self.timers[client];
        self.at(self.now + wait, Event::Wake { client, timer });
    }

    pub(super) fn run(mut self, until: Micros) -> Outcome {
        while let Some(((time, _), event)) = self.events.pop_first() {
            if time > until {
                break;
            }
            self.now = time;
            self.happens(event);
        }
        self.outcome.overlaps = self.overlapped.len();
        self.outcome.refreshes = self.clients.iter().map(|client| client.refreshes).sum();
        self.outcome
    }

    fn happens(&mut self, event: Event) {
        match event {
            Event::Wake { client, timer } if self.timers[client] == timer => {
                if self.put_off(client, event) {
                    return;
                }
                self.ids += 1;
                let next = self.clients[client].wakes(self.now, self.ids);
                self.does(client, next);
            }
            Event::Wake { .. } => {}
            Event::Arrive(request) => self.arrives(request, event),
            Event::Hear { client, reply } => {
                if self.put_off(client, event) {
                    return;
                }
                if let Some(next) = self.clients[client].hears(self.now, &reply) {
                    self.does(client, next);
                }
            }
            Event::Pause { client } => self.pauses(client),
            Event::Thaw {
                client,
                stood_still,
            } => {
                self.paused_until[client] = None;
                self.clients[client].local.frozen += stood_still;
                self.check(client);
            }
            Event::Step { client } => {
                let hour = 3_600 * SECOND;
                self.clients[client].local.wall_error += if self.rng.bool() { hour } else { -hour };
                self.after(8, Event::Step { client });
            }
            Event::Crash { client } => self.crashes(client),
        }
    }

    /// A paused process does nothing before its thaw.
    fn put_off(&mut self, client: usize, event: Event) -> bool {
        let thaw = self.paused_until[client];
        if let Some(thaw) = thaw {
            self.at(thaw, event);
        }
        thaw.is_some()
    }

    fn does(&mut self, client: usize, next: Next) {
        self.check(client);
        match next {
            Next::Sleep(wait) => self.wake(client, wait),
            Next::Send(action) => {
                let sent = self.clients[client].local.at(self.now);
                let number = self.clients[client].sends(action, sent);
                let held_back = self.rng.bool();
                let request = Request {
                    client,
                    number,
                    action,
                    held_back,
                };
                let latency = self.latency();
                if !self.is_lost() {
                    self.at(self.now + latency, Event::Arrive(request));
                }
                self.wake(client, SECOND);
            }
        }
    }

    fn is_lost(&mut self) -> bool {
        self.scenario.losses && self.rng.u32(0..100) < 2
    }

    /// One way. A round trip takes 1 to 400 ms, mostly little.
    fn latency(&mut self) -> Micros {
        let most = if self.rng.u32(0..10) == 0 {
            200_000
        } else {
            20_000
        };
        self.rng.i64(500..most)
    }

    fn arrives(&mut self, request: Request, event: Event) {
        if request.held_back && self.put_off(request.client, event) {
            return;
        }
        let done = self.apply(request.action);
        let date = self.date(request.client);
        let reply = Reply {
            number: request.number,
            date,
            done,
            record: self.record,
        };
        let latency = self.latency();
        if !self.is_lost() {
            let client = request.client;
            self.at(self.now + latency, Event::Hear { client, reply });
        }
    }

    fn date(&mut self, client: usize) -> Timestamp {
        let front_end = self.front_ends[self.rng.usize(0..FRONT_ENDS)];
        let mut server = self.now + front_end;
        let client = &self.clients[client];
        let knows = client
            .interval
            .interval(client.local.at(self.now))
            .is_some();
        // The first `Date` of a process is believed; whatever comes later may lie.
        if self.scenario.bad_dates && knows && self.rng.u32(0..100) == 0 {
            let lie = self.rng.i64(10 * SECOND..3_600 * SECOND);
            server += if self.rng.bool() { lie } else { -lie };
        }
        Timestamp::from_millis(EPOCH_MS + server.div_euclid(SECOND) * 1_000)
    }

    fn apply(&mut self, action: Action) -> bool {
        let Some(mut record) = self.record else {
            return self.creates(action);
        };
        let done = match action {
            Action::Take { mine, .. } if record.holder.is_none() && record.closed != mine.id => {
                record.holder = Some(mine);
                true
            }
            Action::Swap { mine, rev, watched } if rev == record.rev => {
                self.evicts(&record, watched);
                record.holder = Some(mine);
                true
            }
            Action::Clamp { rev, bound } if rev == record.rev => {
                self.outcome.clamps += 1;
                record
                    .holder
                    .iter_mut()
                    .for_each(|holder| holder.expires_at = bound);
                true
            }
            Action::Renew { mine } => match &mut record.holder {
                Some(holder) if holder.id == mine.id && holder.seq < mine.seq => {
                    *holder = mine;
                    true
                }
                _ => false,
            },
            Action::Release { id } if record.holder.is_some_and(|holder| holder.id == id) => {
                record.holder = None;
                record.closed = id;
                true
            }
            _ => false,
        };
        record.rev += u64::from(done);
        self.record = Some(record);
        done
    }

    fn creates(&mut self, action: Action) -> bool {
        let Action::Take { mine, create: true } = action else {
            return false;
        };
        self.record = Some(Record {
            rev: 1,
            holder: Some(mine),
            closed: 0,
        });
        true
    }

    fn evicts(&mut self, record: &Record, watched: bool) {
        let Some(holder) = record.holder else { return };
        self.outcome.evictions += 1;
        let slowest = self.front_ends.iter().min().copied().unwrap_or_default();
        let server = EPOCH_MS + (self.now + slowest).div_euclid(1_000);
        if !watched && server < holder.expires_at.as_millis() {
            self.outcome.early += 1;
        }
        if let Some(crashed) = self.crashed.remove(&holder.id) {
            let ttl = i64::try_from(self.scenario.ttl.as_micros()).unwrap_or(i64::MAX);
            self.outcome.takeovers.push(self.now - crashed - ttl);
        }
    }

    fn pauses(&mut self, client: usize) {
        if self.paused_until[client].is_none() {
            let length = self.rng.i64(20_000..5 * SECOND);
            // As on Lambda, or as by SIGSTOP: the monotonic clock stands still, or runs on.
            let stood_still = if self.rng.bool() { length } else { 0 };
            self.paused_until[client] = Some(self.now + length);
            self.at(
                self.now + length,
                Event::Thaw {
                    client,
                    stood_still,
                },
            );
        }
        self.after(6, Event::Pause { client });
    }

    fn crashes(&mut self, client: usize) {
        if self.paused_until[client].is_none() {
            if let Some(id) = self.clients[client].believes(self.now) {
                self.crashed.insert(id, self.now);
            }
            self.clients[client].restart();
            let wait = self.rng.i64(0..3 * SECOND);
            self.wake(client, wait);
        }
        self.after(20, Event::Crash { client });
    }

    /// Whether somebody else believes that it holds, when this client comes to believe it (I3).
    fn check(&mut self, client: usize) {
        let Some(id) = self.clients[client].believes(self.now) else {
            return;
        };
        if self.handed_out.insert(id) {
            self.outcome.leases += 1;
        }
        for (other, paused) in self.clients.iter().zip(&self.paused_until) {
            let theirs = other.believes(self.now).filter(|_| paused.is_none());
            if theirs.is_some_and(|theirs| theirs != id) {
                self.overlapped.insert(id);
            }
        }
    }
}
