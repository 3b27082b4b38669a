//! What an observer of everything remembers and compares, independently of the rules.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::{Holder, LockRecord, Mode, Owner, Timestamp, Waiter};

use super::invariant::Invariant;
use super::wire::Ask;
use super::world::World;
use super::{Check, Id, SKEW, conflict};

/// Nobody is passed sooner than so long after it could have claimed.
const CLAIM: Duration = Duration::from_secs(2);

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a witness of its own"
)]
pub(super) struct Ghost {
    broken: u16,
    /// The highest token that was issued.
    token: u64,
    grants: Vec<Granted>,
    pub(super) handed_out: bool,
    pub(super) evicted: bool,
    pub(super) taken_over: bool,
    pub(super) refused_duplicate: bool,
    pub(super) changed: bool,
    pub(super) beside: bool,
    pub(super) in_turn: bool,
    pub(super) passed: bool,
    pub(super) late_write: bool,
    pub(super) purged: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Granted {
    id: Id,
    owner: u8,
    token: u64,
    mode: Mode,
    /// A later grant excludes it.
    is_over: bool,
}

/// Why a record is written.
pub(super) enum Cause {
    Grant(Ask),
    Queue,
    Renew(Id),
    Release(Id),
}

impl Ghost {
    pub(super) fn breaks(&mut self, invariant: Invariant) {
        self.broken |= 1 << invariant as u16;
    }

    pub(super) const fn is_broken(&self, invariant: Invariant) -> bool {
        self.broken & (1 << invariant as u16) != 0
    }

    /// Whether a later grant excludes this one.
    pub(super) fn is_over(&self, id: Id, token: u64) -> bool {
        let mut grants = self.grants.iter();
        grants.any(|of| of.id == id && of.token == token && of.is_over)
    }

    fn notes(&mut self, ask: &Ask, token: u64) {
        for earlier in &mut self.grants {
            let is_excluded = if earlier.owner == ask.owner {
                earlier.id != ask.id
            } else {
                conflict(earlier.mode, ask.mode)
            };
            earlier.is_over |= is_excluded;
        }
        self.grants.push(Granted {
            id: ask.id,
            owner: ask.owner,
            token,
            mode: ask.mode,
            is_over: false,
        });
    }
}

impl Check {
    /// What clients believe.
    pub(super) fn look(&self, world: &mut World) {
        let believers: Vec<(u8, Mode)> = (0..world.clients.len())
            .filter(|client| self.left(world, *client).is_some())
            .filter_map(|client| {
                let client = &world.clients[client];
                let lease = client.lease.as_ref()?;
                // Who is about to share makes no more use of having it alone.
                let asking = client.asking.as_ref();
                let to = asking.map(|to| to.mode).filter(|to| *to != Mode::Exclusive);
                Some((lease.owner, to.unwrap_or(lease.mode)))
            })
            .collect();
        for (index, (owner, mode)) in believers.iter().enumerate() {
            let mut others = believers[..index].iter();
            if others.any(|(of, other)| of != owner && conflict(*mode, *other)) {
                world.ghost.breaks(Invariant::I3);
            }
        }
        let limits = believers.iter().map(|(_, mode)| mode.capacity());
        let owners: BTreeSet<u8> = believers.iter().map(|(owner, _)| *owner).collect();
        if limits.max().is_some_and(|limit| owners.len() > limit) {
            world.ghost.breaks(Invariant::I10);
        }
    }

    /// What a write makes of the record.
    pub(super) fn compare(
        &self,
        world: &mut World,
        before: Option<&LockRecord>,
        next: &LockRecord,
        cause: &Cause,
    ) {
        let empty = LockRecord::new(next.mode);
        let before = before.unwrap_or(&empty);
        match cause {
            Cause::Grant(ask) => self.grants(world, before, next, ask),
            Cause::Queue => {
                if before.holders != next.holders || before.token != next.token {
                    world.ghost.breaks(Invariant::I5);
                }
            }
            Cause::Renew(id) | Cause::Release(id) => {
                let others = |record: &LockRecord| -> Vec<Holder> {
                    let holders = record.holders.iter();
                    let others = holders.filter(|holder| holder.id() != Some(&id.name()));
                    others.cloned().collect()
                };
                if others(before) != others(next) || before.token != next.token {
                    world.ghost.breaks(Invariant::I5);
                }
            }
        }
    }

    fn grants(&self, world: &mut World, before: &LockRecord, next: &LockRecord, ask: &Ask) {
        let truth = self.truth(world);
        let asking = world.clients[ask.id.client].asking.as_ref();
        let replaces = asking.filter(|asking| asking.id == ask.id);
        let replaces = replaces.and_then(|asking| asking.replaces);
        let ghost = &mut world.ghost;
        if next.token <= ghost.token {
            ghost.breaks(Invariant::I2);
        }
        ghost.token = ghost.token.max(next.token);
        if next.holders.len() > ask.mode.capacity() {
            ghost.breaks(Invariant::I10);
        }
        if before.closed == Some(ask.id.name()) {
            ghost.breaks(Invariant::I7);
        }
        if let Some(old) = replaces {
            ghost.changed = true;
            if before.holder(&old.name()).is_none() {
                ghost.breaks(Invariant::I4);
            }
        }
        let mine = Owner::new(format!("o{}", ask.owner)).unwrap();
        let stays = |holder: &Holder| holder.id().is_some_and(|id| next.holder(id).is_some());
        for gone in before.holders.iter().filter(|holder| !stays(holder)) {
            if gone.owner() == Some(&mine) {
                ghost.taken_over = true;
                continue;
            }
            ghost.evicted = true;
            if gone.expires_at > truth {
                ghost.breaks(Invariant::I12);
            }
        }
        ghost.beside |= next.holders.len() > 1;
        ghost.notes(ask, next.token);
        passes(world, before, ask, &mine, truth);
    }

    /// A grant that turns out to stand already.
    pub(super) fn recognises(world: &mut World, id: Id, token: Option<u64>) {
        if token.is_some_and(|token| world.ghost.is_over(id, token)) {
            world.ghost.breaks(Invariant::I4);
        }
    }

    /// A refusal was due: somebody else holds, or has still time to claim its turn.
    pub(super) fn must_be_held(&self, world: &mut World, ask: &Ask) {
        let Some(record) = &world.record else {
            return world.ghost.breaks(Invariant::I8);
        };
        let certain = self.truth(world).saturating_sub(SKEW);
        let mine = Owner::new(format!("o{}", ask.owner)).unwrap();
        let others = record.holders.iter();
        let mut others = others.filter(|holder| holder.owner() != Some(&mine));
        if others.any(|holder| holder.expires_at > certain) {
            return;
        }
        let place = record.waiter(&ask.id.name());
        let is_mine = |waiter: &Waiter| Some(waiter) == place;
        let ahead = record.queue.iter().take_while(|waiter| !is_mine(waiter));
        let ahead: Vec<&Waiter> = ahead.collect();
        let mut alive = ahead.iter().filter(|waiter| waiter.expires_at > certain);
        let Some(last) = alive.next_back() else {
            return world.ghost.breaks(Invariant::I8);
        };
        let claims = u32::try_from(ahead.len()).unwrap();
        let time = (CLAIM + 2 * SKEW) * claims;
        let over = free_since(record).max(Some(last.enqueued_at));
        // Who comes this instant is in line first, and has its turn when it asks again.
        let stood = place.is_some_and(|place| place.enqueued_at < certain);
        if stood && over.is_some_and(|over| over.saturating_add(time) <= certain) {
            world.ghost.breaks(Invariant::I8);
        }
    }
}

/// Who is passed by a grant must have had time to claim its turn.
fn passes(world: &mut World, before: &LockRecord, ask: &Ask, mine: &Owner, truth: Timestamp) {
    if before
        .holders
        .iter()
        .any(|holder| holder.owner() == Some(mine))
    {
        return;
    }
    let ghost = &mut world.ghost;
    let is_mine = |waiter: &&Waiter| waiter.claimant.owner == *mine;
    ghost.in_turn |= before.queue.iter().any(|waiter| is_mine(&waiter));
    let ahead = before.queue.iter().take_while(|waiter| !is_mine(waiter));
    for waiter in ahead.filter(|waiter| conflict(ask.mode, waiter.mode)) {
        if waiter.expires_at <= truth {
            continue;
        }
        ghost.passed = true;
        let since = free_since(before).max(Some(waiter.enqueued_at));
        if since.is_none_or(|since| since.saturating_add(CLAIM) > truth) {
            ghost.breaks(Invariant::I11);
        }
    }
}

/// Since when nobody's lease has been in the way.
fn free_since(record: &LockRecord) -> Option<Timestamp> {
    let ends = record.holders.iter().map(|holder| holder.expires_at);
    ends.chain(record.free_at).max()
}
