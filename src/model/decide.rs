//! Decisions that a client takes on a record that it saw, for the server to write if nothing has changed.

use crate::rules::{ServerTime, Verdict, admit};
use crate::{LockRecord, Reason, Timestamp};

use super::bug::Bug;
use super::wire::{Ask, Message, Reply, Request};
use super::world::World;
use super::{Check, SKEW};

impl Check {
    pub(super) fn decide(
        &self,
        world: &mut World,
        ask: Ask,
        record: Option<Box<LockRecord>>,
        at: Timestamp,
    ) {
        let base = record.as_ref().map(|record| (record.rev, record.token));
        let record = record.map(|record| *record);
        let swap = |ask, next, grants| {
            let next = Box::new(next);
            Message::Request(Request::Swap {
                ask,
                base,
                next,
                grants,
            })
        };
        match self.admit(record.as_ref(), &ask, at) {
            Verdict::Granted(next) => {
                if self.bug == Some(Bug::SwapCountsAnew) {
                    self.counts_anew(world, &ask);
                }
                world.send(swap(ask, *next, true));
            }
            Verdict::Existing(holder) => {
                let token = record.map_or(0, |record| record.token);
                self.granted(world, ask.id, holder.token.unwrap_or(token), holder.seq);
            }
            Verdict::Queued { next: None, .. } => {
                self.answered(world, ask.id, Reply::Queued);
            }
            Verdict::Queued {
                next: Some(next), ..
            } => world.send(swap(ask, *next, false)),
            Verdict::Held { contention, .. } => {
                let reply = refusal(contention.reason);
                self.answered(world, ask.id, reply);
            }
            Verdict::Skipped => {}
        }
    }

    /// The rules, or what a bug makes of them.
    pub(super) fn admit(
        &self,
        record: Option<&LockRecord>,
        ask: &Ask,
        server_now: Timestamp,
    ) -> Verdict {
        let time = ServerTime::exact(server_now, SKEW);
        let request = self.request(ask);
        match self.bug {
            Some(bug) => bug.admit(record, &request, time, self.scenario.tick),
            None => admit(record, &request, &time),
        }
    }

    fn counts_anew(&self, world: &mut World, ask: &Ask) {
        let now = self.moment(world, ask.id.client);
        if let Some(asking) = &mut world.clients[ask.id.client].asking {
            // As if the swap itself were the attempt that its times come from.
            asking.renewal = self.renewal_at(now, ask.seq);
        }
    }
}

pub(super) fn refusal(reason: Reason) -> Reply {
    match reason {
        Reason::Closed | Reason::Replaced => Reply::Over,
        _ => Reply::Held,
    }
}
