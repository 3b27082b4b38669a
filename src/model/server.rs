//! What the database does: it applies the requests one after the other, whenever they come.

use crate::rules::{Released, Renewed, Verdict, release, renew};
use crate::{Key, LockRecord, Owner, ReleaseRequest, RenewRequest};

use super::bug::Bug;
use super::decide::refusal;
use super::ghost::Cause;
use super::invariant::Invariant;
use super::scenario::Decides;
use super::wire::{Ask, Reply, Request, Stamp};
use super::world::World;
use super::{Check, Id};

impl Check {
    pub(super) fn serve(&self, world: &mut World, request: Request, stamp: Option<Stamp>) {
        let stamp = stamp.as_ref();
        match request {
            Request::Acquire(ask) => match self.scenario.decides {
                Decides::Server => self.acquires(world, &ask, stamp),
                // On the record as it is when the request comes, not as its client saw it.
                Decides::Client if self.bug == Some(Bug::TakesOverBlindly) => {
                    self.acquires(world, &ask, stamp);
                }
                Decides::Client => self.takes(world, ask, stamp),
            },
            Request::Swap {
                ask,
                base,
                next,
                grants,
            } => self.swaps(world, &ask, base, *next, grants, stamp),
            Request::Renew {
                id,
                owner,
                seq,
                token,
                mode,
            } => {
                let ask = Ask {
                    id,
                    owner,
                    seq,
                    mode,
                    queueing: crate::Queueing::Never,
                    queued: false,
                    replaces: None,
                };
                self.renews(world, &ask, token, stamp);
            }
            Request::Release { id, owner } => self.releases(world, id, owner, stamp),
        }
    }

    pub(super) fn shows(&self, world: &mut World, ask: &Ask, stamp: Option<&Stamp>) {
        let look = Reply::Look {
            record: world.record.clone().map(Box::new),
            at: self.server_now(world),
            ask: ask.clone(),
        };
        self.reply(world, ask.id, look, stamp);
    }

    fn acquires(&self, world: &mut World, ask: &Ask, stamp: Option<&Stamp>) {
        let time = self.time_of(world, stamp);
        let reply = match self.admit(world.record.as_ref(), ask, time) {
            Verdict::Granted(next) => {
                let token = next.token;
                self.store(world, *next, &Cause::Grant(ask.clone()));
                Reply::Granted {
                    token,
                    seq: ask.seq,
                }
            }
            Verdict::Existing(holder) => {
                Self::recognises(world, ask.id, holder.token);
                let token = world.record.as_ref().map_or(0, |record| record.token);
                Reply::Granted {
                    token: holder.token.unwrap_or(token),
                    seq: holder.seq,
                }
            }
            Verdict::Queued { next, .. } => {
                if let Some(next) = next {
                    self.store(world, *next, &Cause::Queue);
                }
                self.must_be_held(world, ask);
                Reply::Queued
            }
            Verdict::Held { contention, .. } => {
                let reply = refusal(contention.reason);
                if reply == Reply::Held {
                    self.must_be_held(world, ask);
                } else {
                    world.ghost.refused_duplicate = true;
                }
                reply
            }
            Verdict::Skipped(_) => return,
        };
        self.reply(world, ask.id, reply, stamp);
    }

    fn swaps(
        &self,
        world: &mut World,
        ask: &Ask,
        base: Option<(u64, u64)>,
        next: LockRecord,
        grants: bool,
        stamp: Option<&Stamp>,
    ) {
        let seen = world.record.as_ref();
        let seen = seen.map(|record| (record.rev, record.token));
        let fits = match self.bug {
            Some(Bug::SwapUnconditioned) => true,
            Some(Bug::SwapOnRevAlone) => seen.map(|seen| seen.0) == base.map(|base| base.0),
            _ => seen == base,
        };
        if !fits {
            return self.shows(world, ask, stamp);
        }
        let token = next.token;
        let (cause, reply) = if grants {
            let seq = ask.seq;
            (Cause::Grant(ask.clone()), Reply::Granted { token, seq })
        } else {
            (Cause::Queue, Reply::Queued)
        };
        self.store(world, next, &cause);
        self.reply(world, ask.id, reply, stamp);
    }

    fn renews(&self, world: &mut World, ask: &Ask, token: u64, stamp: Option<&Stamp>) {
        let mut request = RenewRequest::new(&self.request(ask), token, ask.seq);
        let seen = world.record.clone();
        if let (Some(bug), Some(seen)) = (self.bug, &seen) {
            bug.renewal(seen, &mut request);
        }
        let time = self.time_of(world, stamp);
        let seq = match renew(seen.as_ref(), &request, &time) {
            Renewed::Write(next) => {
                self.store(world, *next, &Cause::Renew(ask.id));
                ask.seq
            }
            Renewed::Newer { seq, .. } => seq,
            // No request of this model raises a token.
            Renewed::Lost | Renewed::Passed => {
                return self.reply(world, ask.id, Reply::Lost, stamp);
            }
        };
        if world.ghost.is_over(ask.id, token) {
            world.ghost.breaks(Invariant::I4);
        }
        self.reply(world, ask.id, Reply::Renewed { seq }, stamp);
    }

    fn releases(&self, world: &mut World, id: Id, owner: u8, stamp: Option<&Stamp>) {
        let owner = Owner::new(format!("o{owner}")).unwrap();
        let request = ReleaseRequest::new(&Key::new("k").unwrap(), &owner, &id.name());
        let time = self.time_of(world, stamp);
        let seen = world.record.clone();
        if let Released::Write(next) = release(seen.as_ref(), &request, &time) {
            self.store(world, *next, &Cause::Release(id));
        } else if let (Some(bug), Some(seen)) = (self.bug, seen)
            && let Some(next) = bug.stray_release(&seen)
        {
            self.store(world, next, &Cause::Release(id));
        }
        // It is answered now, and so holds no more.
        let record = world.record.as_ref();
        if record.is_some_and(|record| record.holder(&id.name()).is_some()) {
            world.ghost.breaks(Invariant::I6);
        }
    }

    pub(super) fn store(&self, world: &mut World, mut next: LockRecord, cause: &Cause) {
        let before = world.record.take();
        if let Some(bug) = self.bug {
            bug.store(before.as_ref(), &mut next, cause, self.ttl());
        }
        self.compare(world, before.as_ref(), &next, cause);
        if self.bug == Some(Bug::Unconfirmed) {
            world.unconfirmed = Some(Box::new(before));
        }
        world.record = Some(next);
    }

    pub(super) fn purge(&self, world: &mut World) {
        let believed = (0..world.clients.len()).any(|client| self.left(world, client).is_some());
        if believed {
            world.ghost.breaks(Invariant::I14);
        }
        world.ghost.purged = true;
        world.record = None;
    }

    pub(super) fn fail_over(world: &mut World) {
        world.left.failovers -= 1;
        world.is_ahead = !world.is_ahead;
        if let Some(before) = world.unconfirmed.take() {
            world.record = *before;
        }
    }
}
