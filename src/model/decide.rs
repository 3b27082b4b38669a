//! Decisions that a client takes on a record that it saw, for the server to write if nothing has changed.

use crate::rules::{ServerTime, Verdict, admit};
use crate::{LockRecord, Reason, Timestamp};

use super::Check;
use super::bug::Bug;
use super::wire::{Ask, Reply, Request};
use super::world::World;

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
        let client = ask.id.client;
        let swap = |ask, next, grants| Request::Swap {
            ask,
            base,
            next: Box::new(next),
            grants,
        };
        // Nothing is known of the time: nothing is decided, and asking again brings a `Date`.
        let Some(time) = self.time_to_judge(world, client, record.is_some(), at) else {
            return;
        };
        match self.admit(record.as_ref(), &ask, time) {
            Verdict::Granted(next) => {
                if self.bug == Some(Bug::SwapCountsAnew) {
                    self.counts_anew(world, &ask);
                }
                self.send(world, client, swap(ask, *next, true));
            }
            Verdict::Existing(holder) => {
                let token = record.map_or(0, |record| record.token);
                let validity = self.recognised(&holder, &time);
                self.granted(world, ask.id, holder.token.unwrap_or(token), &validity);
            }
            Verdict::Queued { next: None, .. } => {
                self.answered(world, ask.id, Reply::Queued, None);
            }
            Verdict::Queued {
                next: Some(next), ..
            } => self.send(world, client, swap(ask, *next, false)),
            Verdict::Held { contention, .. } => {
                let reply = refusal(contention.reason);
                self.answered(world, ask.id, reply, None);
            }
            Verdict::Skipped(_) => {}
        }
    }

    /// The rules, or what a bug makes of them.
    pub(super) fn admit(
        &self,
        record: Option<&LockRecord>,
        ask: &Ask,
        time: ServerTime,
    ) -> Verdict {
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
