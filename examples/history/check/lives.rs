//! A history by leases: what became of each acquisition.

use std::collections::{BTreeMap, HashMap};

use crate::history::{Event, Side, What};

/// The events as they belong together, in order of time.
pub(super) struct History<'a> {
    pub(super) lives: Vec<Life<'a>>,
    pub(super) keys: BTreeMap<&'a str, Vec<usize>>,
    pub(super) clients: HashMap<u32, Client<'a>>,
    /// When all was well: from a `Healed`, or the start, to the next fault.
    pub(super) well: Vec<(u64, u64)>,
}

/// An incarnation of a client.
pub(super) struct Client<'a> {
    pub(super) born: u64,
    pub(super) last: u64,
    pub(super) crashed: Option<&'a Event>,
    /// Each pause, and its end if there was one.
    pub(super) pauses: Vec<(&'a Event, Option<u64>)>,
}

/// One acquisition, and the lease that may have come of it.
pub(super) struct Life<'a> {
    pub(super) asked: &'a Event,
    pub(super) side: Side,
    pub(super) owner: Option<&'a str>,
    pub(super) ttl: u64,
    pub(super) wait: u64,
    pub(super) granted: Option<(&'a Event, u64)>,
    /// It was refused, or nobody waits for it any more.
    pub(super) ended: Option<&'a Event>,
    pub(super) held: Vec<Held<'a>>,
    pub(super) lost: Option<&'a Event>,
    pub(super) renewed: Vec<(&'a Event, u64)>,
    pub(super) release: Option<&'a Event>,
    pub(super) released: Option<(&'a Event, bool)>,
}

/// The lease told that it is held.
#[derive(Clone, Copy)]
pub(super) struct Held<'a> {
    pub(super) event: &'a Event,
    pub(super) since: u64,
    pub(super) remaining: u64,
}

impl Held<'_> {
    /// Until when it said that it is held for certain.
    pub(super) fn until(&self) -> u64 {
        self.since.saturating_add(self.remaining)
    }
}

impl<'a> History<'a> {
    pub(super) fn new(events: &[&'a Event]) -> Self {
        let mut history = Self {
            lives: Vec::new(),
            keys: BTreeMap::new(),
            clients: HashMap::new(),
            well: Vec::new(),
        };
        let mut known = HashMap::new();
        let mut well_since = Some(0);
        for event in events {
            history.client(event);
            match &event.what {
                What::Acquire { lease, key, .. } => {
                    known.insert((event.client, *lease), history.lives.len());
                    let of_key = history.keys.entry(key.as_str()).or_default();
                    of_key.push(history.lives.len());
                    history.lives.extend(Life::new(event));
                }
                What::Fault { .. } => {
                    if let Some(since) = well_since.take() {
                        history.well.push((since, event.at));
                    }
                }
                What::Healed => _ = well_since.get_or_insert(event.at),
                what => {
                    let id = lease(what).map(|lease| (event.client, lease));
                    let index = id.and_then(|id| known.get(&id));
                    if let Some(life) = index.and_then(|index| history.lives.get_mut(*index)) {
                        life.note(event);
                    }
                }
            }
        }
        let end = events.last().map_or(0, |last| last.at);
        history.well.extend(well_since.map(|since| (since, end)));
        history
    }

    fn client(&mut self, event: &'a Event) {
        let client = self.clients.entry(event.client).or_insert(Client {
            born: event.at,
            last: event.at,
            crashed: None,
            pauses: Vec::new(),
        });
        client.last = event.at;
        match &event.what {
            What::Crashed => client.crashed = Some(event),
            What::Paused => client.pauses.push((event, None)),
            What::Resumed => {
                if let Some((_, end @ None)) = client.pauses.last_mut() {
                    *end = Some(event.at);
                }
            }
            _ => {}
        }
    }

    pub(super) fn of(&self, key: &[usize]) -> impl Iterator<Item = &Life<'a>> {
        key.iter().filter_map(|index| self.lives.get(*index))
    }

    /// Those of a key that were granted, with their tokens.
    pub(super) fn granted(&self, key: &[usize]) -> Vec<Grant<'_, 'a>> {
        let granted = |life| Grant::new(life);
        self.of(key).filter_map(granted).collect()
    }

    pub(super) fn client_of(&self, life: &Life) -> &Client<'a> {
        &self.clients[&life.asked.client]
    }
}

/// An acquisition that was granted.
#[derive(Clone, Copy)]
pub(super) struct Grant<'h, 'a> {
    pub(super) life: &'h Life<'a>,
    pub(super) event: &'a Event,
    pub(super) token: u64,
}

impl<'h, 'a> Grant<'h, 'a> {
    fn new(life: &'h Life<'a>) -> Option<Self> {
        let (event, token) = life.granted?;
        Some(Self { life, event, token })
    }
}

impl<'a> Life<'a> {
    fn new(asked: &'a Event) -> Option<Self> {
        let What::Acquire {
            side,
            owner,
            ttl,
            wait,
            ..
        } = &asked.what
        else {
            return None;
        };
        Some(Self {
            asked,
            side: *side,
            owner: owner.as_deref(),
            ttl: *ttl,
            wait: *wait,
            granted: None,
            ended: None,
            held: Vec::new(),
            lost: None,
            renewed: Vec::new(),
            release: None,
            released: None,
        })
    }

    fn note(&mut self, event: &'a Event) {
        match &event.what {
            What::Granted { token, .. } => self.granted = Some((event, *token)),
            What::NotGranted { .. } | What::GivenUp { .. } => self.ended = Some(event),
            What::Held {
                since, remaining, ..
            } => self.held.push(Held {
                event,
                since: *since,
                remaining: *remaining,
            }),
            What::Lost { .. } => self.lost = self.lost.or(Some(event)),
            What::Renewed {
                since, ok: true, ..
            } => self.renewed.push((event, *since)),
            What::Release { .. } => self.release = Some(event),
            What::Released { ok, .. } => self.released = Some((event, *ok)),
            _ => {}
        }
    }

    /// The last time that the lease told until when it is certainly held, and that instant: clipped at the ask of its
    /// release, at its loss, and at its being given up.
    pub(super) fn claim(&self) -> Option<(Held<'a>, u64)> {
        let last = self.held.iter().max_by_key(|held| held.until())?;
        let ends = [self.release, self.lost, self.ended];
        let ends = ends.into_iter().flatten().map(|end| end.at);
        Some((*last, ends.fold(last.until(), u64::min)))
    }

    pub(super) fn same_owner(&self, other: &Self) -> bool {
        self.owner.is_some() && self.owner == other.owner
    }
}

fn lease(what: &What) -> Option<u32> {
    match what {
        What::Acquire { lease, .. }
        | What::Granted { lease, .. }
        | What::NotGranted { lease, .. }
        | What::GivenUp { lease }
        | What::Held { lease, .. }
        | What::Lost { lease, .. }
        | What::Renewed { lease, .. }
        | What::Release { lease }
        | What::Released { lease, .. } => Some(*lease),
        _ => None,
    }
}
