//! What a client does: it asks, believes what it was told for as long as its clocks allow, and gives back.

use crate::renewal::Renewal;
use crate::{Moment, Validity};

use super::bug::Bug;
use super::scenario::Decides;
use super::wire::{Ask, Dated, Message, Reply, Request};
use super::world::{Asking, Lease, World};
use super::{Check, Id};

impl Check {
    fn renewal(&self) -> Renewal {
        let ttl = self.scenario.ttl;
        Renewal::new(ttl, ttl / 10)
    }

    /// As if all attempts up to this one were sent now.
    pub(super) fn renewal_at(&self, now: Moment, seq: u64) -> Renewal {
        let mut renewal = self.renewal();
        while renewal.send(now) < seq {}
        renewal
    }

    pub(super) fn begin(&self, world: &mut World, index: usize) {
        let role = self.scenario.roles[index];
        let client = &mut world.clients[index];
        client.begun += 1;
        let id = Id {
            client: index,
            number: client.begun,
        };
        // One of its own for each acquisition, unless it chose one.
        let fresh = u8::try_from(index).unwrap() * 16 + client.begun;
        let owner = role.owner.unwrap_or(fresh);
        let lease = client.lease.as_ref();
        client.asking = Some(Asking {
            id,
            owner: lease.map_or(owner, |lease| lease.owner),
            mode: lease.and(role.changes_to).unwrap_or(role.mode),
            queued: false,
            replaces: lease.map(|lease| lease.id),
            renewal: self.renewal(),
            attempts: 0,
        });
        self.attempt(world, index);
    }

    pub(super) fn attempt(&self, world: &mut World, index: usize) {
        let now = self.moment(world, index);
        let Some(asking) = &mut world.clients[index].asking else {
            return;
        };
        asking.attempts += 1;
        let ask = Ask {
            id: asking.id,
            owner: asking.owner,
            seq: asking.renewal.send(now),
            mode: asking.mode,
            queueing: self.scenario.roles[index].queueing,
            queued: asking.queued,
            replaces: asking
                .replaces
                .filter(|_| self.bug != Some(Bug::ChangeNamesNothing)),
        };
        self.send(world, index, Request::Acquire(ask));
    }

    /// Nobody waits for it any more: what it may have been granted is given back.
    pub(super) fn abandon(&self, world: &mut World, index: usize) {
        let Some(asking) = world.clients[index].asking.take() else {
            return;
        };
        self.give_back(world, asking.id, asking.owner);
        if self.scenario.decides == Decides::Client {
            world.clients[index].under_way = Some(asking.id);
        }
        if asking.replaces.is_some() {
            self.release(world, index);
        }
    }

    pub(super) fn renew(&self, world: &mut World, index: usize) {
        let now = self.moment(world, index);
        let Some(lease) = &mut world.clients[index].lease else {
            return;
        };
        lease.renewals += 1;
        let renew = Request::Renew {
            id: lease.id,
            owner: lease.owner,
            seq: lease.renewal.send(now),
            token: lease.token,
            mode: lease.mode,
        };
        self.send(world, index, renew);
    }

    /// It ends here and now, whatever becomes of the request.
    pub(super) fn release(&self, world: &mut World, index: usize) {
        if let Some(lease) = world.clients[index].lease.take() {
            self.give_back(world, lease.id, lease.owner);
        }
    }

    pub(super) fn write(world: &mut World, index: usize) {
        if let Some(lease) = &mut world.clients[index].lease {
            lease.writes += 1;
            let token = lease.token;
            world.send(Message::Write(token));
        }
    }

    pub(super) fn answered(&self, world: &mut World, to: Id, reply: Reply, dated: Option<&Dated>) {
        let client = &mut world.clients[to.client];
        if let Reply::Look { ask, record, at } = reply {
            // Whether somebody still waits for it or not.
            if client.goes_on(to) {
                self.decide(world, ask, record, at);
            }
            return;
        }
        client.under_way.take_if(|id| *id == to);
        match reply {
            Reply::Look { .. } => {}
            Reply::Granted { token, seq } => {
                self.granted(world, to, token, &self.validity(world, to, seq, dated));
            }
            Reply::Queued => Self::stands_in_line(world, to, true),
            Reply::Held => {
                Self::stands_in_line(world, to, false);
                // A change of mode does not wait.
                let asking = &mut world.clients[to.client].asking;
                asking.take_if(|asking| asking.id == to && asking.replaces.is_some());
            }
            Reply::Over => {
                let client = &mut world.clients[to.client];
                let over = client.asking.take_if(|asking| asking.id == to);
                // What it was to replace is gone.
                if over.is_some_and(|asking| asking.replaces.is_some()) {
                    client.lease = None;
                }
            }
            Reply::Renewed { seq } => {
                // Lost is lost, even if the answer to a renewal comes after all.
                if self.left(world, to.client).is_none() {
                    return;
                }
                let now = self.moment(world, to.client);
                let validity = self.validity(world, to, seq, dated);
                let lease = &mut world.clients[to.client].lease;
                if let Some(lease) = lease.as_mut().filter(|lease| lease.id == to) {
                    self.stands(&mut lease.renewal, &validity, now);
                }
            }
            Reply::Lost => {
                let client = &mut world.clients[to.client];
                client.lease.take_if(|lease| lease.id == to);
            }
        }
    }

    fn stands_in_line(world: &mut World, to: Id, queued: bool) {
        if let Some(asking) = &mut world.clients[to.client].asking
            && asking.id == to
        {
            asking.queued = queued;
        }
    }

    pub(super) fn granted(&self, world: &mut World, to: Id, token: u64, validity: &Validity) {
        let now = self.moment(world, to.client);
        let had = self.left(world, to.client).is_some();
        let client = &mut world.clients[to.client];
        let Some(mut asking) = client.asking.take_if(|asking| asking.id == to) else {
            return;
        };
        self.stands(&mut asking.renewal, validity, now);
        // The last look: answers may have taken long.
        let lost = asking.replaces.is_some() && !had;
        if lost || asking.renewal.left(now).is_zero() {
            client.lease = None;
            self.give_back(world, asking.id, asking.owner);
            return;
        }
        client.lease = Some(Lease {
            id: asking.id,
            owner: asking.owner,
            mode: asking.mode,
            token,
            renewal: asking.renewal,
            renewals: 0,
            writes: 0,
        });
        world.ghost.handed_out = true;
    }

    fn stands(&self, renewal: &mut Renewal, validity: &Validity, now: Moment) {
        if self.bug == Some(Bug::DeadlineFromAnswer) {
            *renewal = self.renewal_at(now, validity.seq);
        }
        renewal.stands(validity);
    }

    fn give_back(&self, world: &mut World, id: Id, owner: u8) {
        self.send(world, id.client, Request::Release { id, owner });
    }

    /// Whatever a lease protects sees the writes in the order in which they arrive.
    pub(super) fn arrives(&self, world: &mut World, token: u64) {
        world.ghost.late_write |= token < world.fence;
        let accepts = token >= world.fence || self.bug == Some(Bug::Unfenced);
        if accepts && token < world.fence {
            world.ghost.breaks(super::invariant::Invariant::I1);
        }
        world.fence = world.fence.max(token);
    }
}
