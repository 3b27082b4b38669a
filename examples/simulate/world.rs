//! One seed: hosts, a database and all that happens to them, in the order of true time.
//!
//! A host runs ahead of the others until it sends something, for nothing but an answer can reach it; the database then acts
//! in the order in which requests arrive.

use std::cmp::Reverse;
use std::collections::binary_heap::PeekMut;
use std::collections::hash_map::DefaultHasher;
use std::collections::{BinaryHeap, VecDeque};
use std::hash::{Hash, Hasher};

use doclock::{Error, ErrorKind, Result};
use fastrand::Rng;

use crate::bugs::Bug;
use crate::database::{Answer, Ask, Database};
use crate::history::{Event, What};
use crate::host::{Host, Letter, SlotId};
use crate::oracle::Resource;
use crate::weather::{self, Command, Fate, Outage, Weather};
use crate::workload::{self, Scene};
use crate::{END, HEALED, MS};

/// What became of a seed.
pub(crate) struct Past {
    pub(crate) events: Vec<Event>,
    pub(crate) violations: Vec<(&'static str, String)>,
    pub(crate) trace: Vec<(u64, String)>,
    pub(crate) hash: u64,
    pub(crate) passed: u64,
}

/// Something that arrives at the database, or is done to it.
struct Arrival {
    at: u64,
    number: u64,
    what: Arriving,
}

enum Arriving {
    Request {
        from: u32,
        ask: Box<Ask>,
        reply: Option<Reply>,
    },
    /// Refused on the way.
    Refused {
        reply: Option<Reply>,
        kind: ErrorKind,
    },
    Outage(Outage),
}

/// Where an answer goes.
#[derive(Clone, Copy)]
struct Reply {
    host: usize,
    client: u32,
    slot: SlotId,
}

struct Place {
    host: Option<Host>,
    /// Until when it runs by itself, in truth.
    now: u64,
    commands: VecDeque<(u64, Command)>,
    paused: Option<(u64, bool, bool)>,
    cut_off_until: u64,
}

pub(crate) struct World {
    rng: Rng,
    weather: Weather,
    scene: Scene,
    database: Database,
    resource: Resource,
    places: Vec<Place>,
    arrivals: BinaryHeap<Reverse<Arrival>>,
    arrived: u64,
    clients: u32,
    down_until: u64,
    fail_overs: Vec<u64>,
    events: Vec<Event>,
    traces: bool,
    trace: Vec<(u64, String)>,
    hasher: DefaultHasher,
}

/// Runs one seed. All that is random in the crate is seeded with it.
pub(crate) fn run(seed: u64, bug: Option<Bug>, traces: bool) -> Past {
    fastrand::seed(seed);
    World::new(seed, bug, traces).run()
}

impl World {
    fn new(seed: u64, bug: Option<Bug>, traces: bool) -> Self {
        let mut rng = Rng::with_seed(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        let weather = Weather::new(&mut rng);
        let scene = Scene::new(&mut rng, &weather);
        let stops = rng.usize(..6);
        let places = (0..rng.usize(3..=6)).map(|host| Place {
            host: None,
            now: rng.u64(MS..100 * MS),
            commands: weather::fate_of_host(&mut rng, host == stops).into(),
            paused: None,
            cut_off_until: 0,
        });
        let places = places.collect();
        let outages = weather::outages(&mut rng);
        let mut world = Self {
            rng,
            weather,
            scene,
            database: Database::new(bug),
            resource: Resource::default(),
            places,
            arrivals: BinaryHeap::new(),
            arrived: 0,
            clients: 0,
            down_until: 0,
            fail_overs: Vec::new(),
            events: Vec::new(),
            traces,
            trace: Vec::new(),
            hasher: DefaultHasher::new(),
        };
        for (at, outage) in outages {
            if let Outage::FailOver(_) = outage {
                world.fail_overs.push(at);
            }
            world.push(at, Arriving::Outage(outage));
        }
        world
    }

    fn run(mut self) -> Past {
        let healed = What::Healed;
        self.events.push(Event {
            at: HEALED,
            client: 0,
            what: healed,
        });
        loop {
            let next = (0..self.places.len()).min_by_key(|place| self.places[*place].now);
            let place = next.expect("there are hosts");
            let now = self.places[place].now;
            let arrival = self.arrivals.peek_mut().filter(|it| it.0.at <= now);
            if let Some(arrival) = arrival.map(PeekMut::pop) {
                self.arrive(arrival.0);
            } else if now >= END {
                break;
            } else {
                self.step(place);
            }
        }
        self.finish()
    }

    fn finish(mut self) -> Past {
        let mut violations = std::mem::take(&mut self.database.oracle.violations);
        for place in &self.places {
            let Some(host) = &place.host else { continue };
            self.events.extend(host.take_events());
            if !host.is_done() {
                let sentence = format!("client {} does not come to its end", host.body.client);
                violations.push(("liveness", sentence));
            }
        }
        let time = self.database.server_time(END);
        for (key, record) in self.database.records() {
            if record.holders.iter().any(|it| it.expires_at > time)
                || record.queue.iter().any(|it| it.expires_at > time)
            {
                violations.push(("I7", format!("{key} is still taken when all is over")));
            }
        }
        self.events.sort_by_key(|event| event.at);
        for event in &self.events {
            event.hash(&mut self.hasher);
            if self.traces {
                self.trace.push((
                    event.at,
                    format!("client {} {:?}", event.client, event.what),
                ));
            }
        }
        self.trace.sort_by_key(|(at, _)| *at);
        Past {
            hash: self.hasher.finish(),
            passed: self.database.oracle.passed,
            events: self.events,
            violations,
            trace: self.trace,
        }
    }

    /// Lets a host go on.
    fn step(&mut self, place: usize) {
        let Place {
            host,
            now,
            commands,
            paused,
            ..
        } = &mut self.places[place];
        let Some(host) = host else {
            self.start(place);
            return;
        };
        if let Some((until, frozen, answers_first)) = paused.take() {
            host.body.tell_at(until, What::Resumed);
            host.stand_still(until, frozen, answers_first);
        }
        let next = commands.front().map_or(END, |(at, _)| *at);
        if *now >= next {
            let (_, command) = commands.pop_front().expect("there is one");
            self.command(place, command);
            return;
        }
        let letters = host.run(next.min(END));
        *now = host.body.now();
        for letter in letters {
            self.send(place, letter);
        }
    }

    fn start(&mut self, place: usize) {
        let at = self.places[place].now;
        if at >= END {
            return;
        }
        self.clients += 1;
        let clocks = weather::clocks(&mut self.rng);
        let host = Host::start(self.clients, clocks, at);
        workload::start(&host, place, &self.scene, &mut self.rng);
        self.places[place].host = Some(host);
    }

    fn command(&mut self, place: usize, command: Command) {
        let Place {
            host,
            now,
            paused,
            cut_off_until,
            ..
        } = &mut self.places[place];
        let Some(running) = host else { return };
        let at = *now;
        match command {
            Command::Pause {
                until,
                frozen,
                answers_first,
            } => {
                running.body.tell(What::Paused);
                let until = until.max(at + MS);
                *paused = Some((until, frozen, answers_first));
                *now = until;
                if frozen {
                    self.fault(at, "freeze");
                }
            }
            Command::Crash { until } => {
                running.body.tell(What::Crashed);
                self.events.extend(running.take_events());
                *host = None;
                *now = until.map_or(END, |until| until.max(at + MS));
            }
            Command::StepWall(by) => {
                running.step_wall(by);
                self.fault(
                    at,
                    if by < 0 {
                        "clock set back"
                    } else {
                        "clock set ahead"
                    },
                );
            }
            Command::CutOff { until } => {
                *cut_off_until = until;
                self.fault(at, "cut off");
            }
        }
    }

    fn fault(&mut self, at: u64, name: &str) {
        let name = name.to_owned();
        let what = What::Fault { name };
        self.events.push(Event {
            at,
            client: 0,
            what,
        });
    }

    /// Draws what becomes of a request, and sends it on its way.
    fn send(&mut self, place: usize, letter: Letter) {
        let Letter { at, ask, reply } = letter;
        let ask = Box::new(ask);
        let (there, back) = (
            self.weather.way(&mut self.rng),
            self.weather.way(&mut self.rng),
        );
        let mut fate = self.weather.fate(&mut self.rng, at);
        if at < self.places[place].cut_off_until {
            fate = Fate::Lost;
        } else if fate != Fate::Fine {
            self.fault(at, fate.name());
        }
        let (late, later) = match fate {
            Fate::LateRequest(by) => (by, 0),
            Fate::LateReply(by) => (0, by),
            _ => (0, 0),
        };
        let arrives = at + there + late;
        let answered = arrives + back + later;
        // What is under way when the server changes is lost.
        let is_lost = |from, to| self.fail_overs.iter().any(|at| (from..to).contains(at));
        let arrival_lost = fate == Fate::Lost || is_lost(at, arrives);
        let has_answer = fate != Fate::ReplyLost && !arrival_lost && !is_lost(arrives, answered);
        let Some(host) = &mut self.places[place].host else {
            return;
        };
        let client = host.body.client;
        let reply = reply.filter(|_| has_answer).map(|reply| Reply {
            host: place,
            client,
            slot: host.expect(answered, reply),
        });
        let refusal = match fate {
            Fate::Throttled => Some(ErrorKind::Throttled),
            Fate::Unavailable => Some(ErrorKind::Unavailable),
            Fate::Unknown { .. } => Some(ErrorKind::OutcomeUnknown),
            _ => None,
        };
        if let Fate::Duplicate(later) = fate {
            let ask = ask.clone();
            let again = Arriving::Request {
                from: client,
                ask,
                reply: None,
            };
            self.push(arrives + later, again);
        }
        match refusal {
            Some(kind) => {
                if fate == (Fate::Unknown { applied: true }) {
                    self.push(
                        arrives,
                        Arriving::Request {
                            from: client,
                            ask,
                            reply: None,
                        },
                    );
                }
                self.push(arrives, Arriving::Refused { reply, kind });
            }
            None if arrival_lost => {}
            None => self.push(
                arrives,
                Arriving::Request {
                    from: client,
                    ask,
                    reply,
                },
            ),
        }
    }

    fn push(&mut self, at: u64, what: Arriving) {
        self.arrived += 1;
        let number = self.arrived;
        self.arrivals.push(Reverse(Arrival { at, number, what }));
    }

    fn arrive(&mut self, arrival: Arrival) {
        let at = arrival.at;
        match arrival.what {
            Arriving::Outage(outage) => self.outage(at, outage),
            Arriving::Refused { reply, kind } => {
                self.answer(reply, Err(Error::new(kind, "the weather is bad")));
            }
            Arriving::Request { reply, .. } if at < self.down_until => {
                self.answer(reply, Err(Error::new(ErrorKind::Unavailable, "no server")));
            }
            Arriving::Request { from, ask, reply } => {
                if let Ask::Write { key, token } = &*ask {
                    self.events
                        .extend(self.resource.write(at, from, key, *token));
                    return;
                }
                let answer = self.database.apply(at, &ask);
                self.note(at, from, &ask, &answer);
                self.answer(reply, Ok(answer));
            }
        }
    }

    fn answer(&mut self, reply: Option<Reply>, answer: Result<Answer>) {
        let Some(reply) = reply else { return };
        let host = self.places[reply.host].host.as_mut();
        if let Some(host) = host.filter(|host| host.body.client == reply.client) {
            host.answer(reply.slot, answer);
        }
    }

    fn outage(&mut self, at: u64, outage: Outage) {
        match outage {
            Outage::FailOver(off) => {
                self.database.fail_over(at, off);
                self.fault(at, "failover");
            }
            Outage::Down { until } => {
                self.down_until = until;
                self.fault(at, "outage");
            }
            Outage::Purge => {
                if self.database.purge(at) {
                    self.fault(at, "purge");
                }
            }
        }
    }

    /// What a request did goes into the trace: by numbers, for the ids are others in every run.
    fn note(&mut self, at: u64, from: u32, ask: &Ask, answer: &Answer) {
        let oracle = &mut self.database.oracle;
        let (name, id, seq, key) = match ask {
            Ask::Acquire(it) => ("acquire", oracle.name(&it.id), it.seq, &it.key),
            Ask::Renew(it) => ("renew", oracle.name(&it.id), it.seq, &it.key),
            Ask::Release(it) => ("release", oracle.name(&it.id), 0, &it.key),
            Ask::Write { .. } => return,
        };
        let (end, token) = workload::brief(answer);
        (at, from, name, id, seq, end, token).hash(&mut self.hasher);
        if self.traces {
            let text =
                format!("  database: client {from} {name} {key} #{id} seq {seq}: {end} {token}");
            self.trace.push((at, text));
        }
    }
}

impl PartialEq for Arrival {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Arrival {}

impl PartialOrd for Arrival {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Arrival {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.number).cmp(&(other.at, other.number))
    }
}
