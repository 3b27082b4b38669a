//! Every order of events, within bounds: clients that acquire at three members, whose messages are lost or come late, and
//! members that lose their data.
//!
//! The members decide by the crate's own rules and the clients by its own [`Tally`]; only who sends what, and when, is told
//! again here.

mod bug;
mod client;
mod member;

use std::io::Write;
use std::time::Instant;

use stateright::{Checker, HasDiscoveries, Model, Property};

use bug::Bug;
use client::{Client, Link};
use member::Member;

const MEMBERS: usize = 3;

/// A small world, and what is wrong with it.
#[derive(Clone, Copy, Debug)]
struct Check {
    bug: Option<Bug>,
    bounds: Bounds,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Bounds {
    /// How often each client may try.
    attempts: [u64; 2],
    ticks: u64,
    /// How many messages get lost.
    losses: u8,
    /// How many are done after their sender gave up.
    late: u8,
    /// How many are done a second time, later.
    duplicates: u8,
    /// How many members come back without their data.
    amnesia: u8,
    /// The last token that each member has given.
    tokens: [u64; MEMBERS],
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct World {
    now: u64,
    members: [Member; MEMBERS],
    clients: Vec<Client>,
    /// What nobody waits for any more, and may come yet.
    adrift: Vec<(usize, usize, Link)>,
    left: Bounds,
    /// The token that was handed out last.
    token: u64,
    /// What must not be.
    regressed: bool,
    spent: bool,
    /// What must happen.
    disagreed: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Action {
    Attempt(usize),
    Deliver(usize, usize),
    /// The request is not done.
    Lose(usize, usize),
    /// It is done, and nobody says so.
    LoseReply(usize, usize),
    /// Its sender gives up, and it is done later.
    SetAdrift(usize, usize),
    Duplicate(usize, usize),
    Land(usize),
    Release(usize),
    Forget(usize),
    Tick,
}

impl Model for Check {
    type State = World;
    type Action = Action;

    fn init_states(&self) -> Vec<World> {
        vec![World {
            now: 0,
            members: self.bounds.tokens.map(Member::with_token),
            clients: (0..self.bounds.attempts.len()).map(Client::new).collect(),
            adrift: Vec::new(),
            left: self.bounds,
            token: 0,
            regressed: false,
            spent: false,
            disagreed: false,
        }]
    }

    fn actions(&self, world: &World, actions: &mut Vec<Action>) {
        let left = &world.left;
        for (c, client) in world.clients.iter().enumerate() {
            if client.may_attempt(left.attempts[c]) {
                actions.push(Action::Attempt(c));
            }
            if client.holds() {
                actions.push(Action::Release(c));
            }
            for (m, seat) in client.seats.iter().enumerate() {
                if !seat.link.is_request() {
                    continue;
                }
                actions.push(Action::Deliver(c, m));
                if left.losses > 0 {
                    actions.extend([Action::Lose(c, m), Action::LoseReply(c, m)]);
                }
                if left.late > 0 {
                    actions.push(Action::SetAdrift(c, m));
                }
                if left.duplicates > 0 {
                    actions.push(Action::Duplicate(c, m));
                }
            }
        }
        actions.extend((0..world.adrift.len()).map(Action::Land));
        if left.amnesia > 0 {
            let may_forget = |m: &usize| world.may_forget(*m);
            actions.extend((0..MEMBERS).filter(may_forget).map(Action::Forget));
        }
        if world.now < left.ticks {
            actions.push(Action::Tick);
        }
    }

    fn next_state(&self, last: &World, action: Action) -> Option<World> {
        let mut world = last.clone();
        match action {
            Action::Attempt(c) => self.attempt(&mut world, c),
            Action::Deliver(c, m) => self.deliver(&mut world, c, m),
            Action::Duplicate(c, m) => {
                world.left.duplicates -= 1;
                let link = world.clients[c].seats[m].link;
                world.adrift.push((c, m, link));
                self.deliver(&mut world, c, m);
            }
            Action::Lose(c, m) => {
                world.left.losses -= 1;
                self.answered(&mut world, c, m, None);
            }
            Action::LoseReply(c, m) => {
                world.left.losses -= 1;
                let link = world.clients[c].seats[m].link;
                self.apply(&mut world, c, m, link);
                self.answered(&mut world, c, m, None);
            }
            Action::SetAdrift(c, m) => {
                world.left.late -= 1;
                let link = world.clients[c].seats[m].link;
                world.adrift.push((c, m, link));
                self.answered(&mut world, c, m, None);
            }
            Action::Land(index) => {
                let (c, m, link) = world.adrift.remove(index);
                self.apply(&mut world, c, m, link);
            }
            Action::Release(c) => world.clients[c].release(),
            Action::Forget(m) => {
                world.left.amnesia -= 1;
                world.members[m] = Member::default();
            }
            Action::Tick => world.now += 1,
        }
        world.clients.iter_mut().for_each(Client::settle);
        (world != *last).then_some(world)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(ONE, |_, world: &World| world.believers() <= 1),
            Property::always(GROW, |_, world: &World| !world.regressed),
            Property::always(VALID, |_, world: &World| !world.spent),
            Property::always(ENDS, |_, world: &World| {
                !world.clients.iter().any(Client::is_stuck)
            }),
            Property::sometimes("two are granted", |_, world: &World| {
                world
                    .clients
                    .iter()
                    .filter(|client| client.granted > 0)
                    .count()
                    > 1
            }),
            Property::sometimes("a refused one is granted later", |_, world: &World| {
                world.clients.iter().any(|client| client.granted > 1)
            }),
            Property::sometimes("a token is written back", |_, world: &World| {
                world.disagreed
            }),
        ]
    }
}

const ONE: &str = "one believes that it holds";
const GROW: &str = "tokens grow";
const VALID: &str = "a lease is valid when it is handed out";
const ENDS: &str = "whoever waits will be answered";
const INVARIANTS: [&str; 4] = [ONE, GROW, VALID, ENDS];

impl Check {
    fn deliver(&self, world: &mut World, c: usize, m: usize) {
        let link = world.clients[c].seats[m].link;
        let reply = self.apply(world, c, m, link);
        self.answered(world, c, m, Some(reply));
    }
}

impl World {
    fn believers(&self) -> usize {
        let now = self.now;
        self.clients
            .iter()
            .filter(|client| client.believes(now))
            .count()
    }

    /// What is promised: a lease that stands on all members outlives one that forgets, and so does its token. Nobody is
    /// promised anything for a grant that is under way.
    fn may_forget(&self, member: usize) -> bool {
        let quiet = self.clients.iter().all(|client| !client.is_asking());
        let others = self
            .members
            .iter()
            .enumerate()
            .filter(|(m, _)| *m != member);
        let know = others.into_iter().all(|(_, other)| {
            let stands = |client: &Client| !client.believes(self.now) || other.holds(client);
            other.token() >= self.token && self.clients.iter().all(stands)
        });
        quiet && know && self.adrift.is_empty()
    }
}

/// Each tries once, and time passes.
fn time() -> Bounds {
    Bounds {
        attempts: [1, 1],
        ticks: 2,
        losses: 0,
        late: 0,
        duplicates: 0,
        amnesia: 0,
        tokens: [2, 1, 0],
    }
}

/// One tries twice.
fn losses() -> Bounds {
    Bounds {
        attempts: [2, 1],
        ticks: 0,
        losses: 1,
        ..time()
    }
}

fn late() -> Bounds {
    Bounds {
        late: 1,
        ..losses()
    }
}

fn duplicates() -> Bounds {
    Bounds {
        duplicates: 1,
        ..losses()
    }
}

fn amnesia() -> Bounds {
    Bounds {
        amnesia: 1,
        ..time()
    }
}

fn worlds() -> Vec<(&'static str, Bounds)> {
    let mut worlds = vec![
        ("time", time()),
        ("losses", losses()),
        ("late messages", late()),
        ("amnesia", amnesia()),
    ];
    if std::env::var_os("DOCLOCK_TEST_FULL").is_some() {
        let both = Bounds {
            ticks: 2,
            ..losses()
        };
        worlds.extend([("duplicates", duplicates()), ("losses, in time", both)]);
    }
    worlds
}

fn say(line: &str) {
    let _ = writeln!(std::io::stdout(), "{line}");
}

#[test]
fn the_invariants_hold_in_every_order_of_events() {
    say(&format!("\n{:<16} {:>10} {:>7}", "world", "states", "time"));
    let mut seen = std::collections::BTreeSet::new();
    for (name, bounds) in worlds() {
        let start = Instant::now();
        let checker = Check { bug: None, bounds }.checker().threads(2);
        let checker = checker.spawn_bfs().join();
        let found = checker.discoveries();
        for invariant in INVARIANTS {
            if let Some(path) = found.get(invariant) {
                panic!(
                    "{name}: not {invariant}: {:#?}",
                    path.clone().into_actions()
                );
            }
        }
        seen.extend(found.keys().copied());
        let states = checker.unique_state_count();
        say(&format!(
            "{name:<16} {states:>10} {:>5.1} s",
            start.elapsed().as_secs_f64()
        ));
        assert!(checker.is_done());
    }
    assert_eq!(seen.len(), 3, "not everything happens: {seen:?}");
}

#[test]
fn each_mistake_is_found_by_the_invariant_that_it_breaks() {
    say(&format!(
        "\n{:<36} {:<40} {:>6}",
        "mistake", "found by", "steps"
    ));
    for (bug, invariant, bounds) in bug::table() {
        let checker = Check {
            bug: Some(bug),
            bounds,
        };
        let broken = HasDiscoveries::AnyOf([invariant].into());
        let checker = checker
            .checker()
            .threads(2)
            .finish_when(broken)
            .spawn_bfs()
            .join();
        let found = checker.discovery(invariant);
        let Some(path) = found else {
            panic!("{bug:?} is not found by: {invariant}");
        };
        let steps = path.into_actions().len();
        say(&format!(
            "{:<36} {invariant:<40} {steps:>6}",
            format!("{bug:?}")
        ));
    }
}
