//! When a waiter that is told of changes asks: as soon as it may be the next, so that a crowd does not ask as one.

use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until};

use super::{Sight, Wake};
use crate::Mode;

/// Of many who may all be granted at once, each holds back by up to this much for each of them.
const SPREAD: Duration = Duration::from_millis(1);

/// Where a waiter stands.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Stand {
    /// In no queue: whoever asks first gets it.
    Outside,
    /// In the record's queue of so many, with so many to be granted before it.
    InLine { ahead: usize, queue: usize },
}

/// How long a waiter waits if nothing happens.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    /// While it is not told of changes; from when it is told no more.
    pub(crate) blind: Duration,
    /// While it is: for what was missed all the same.
    pub(crate) watching: Duration,
    /// Until the holders in the way expire, which is no change of the record.
    pub(crate) expiry: Duration,
    /// A lease's time to live: that of whoever holds when it becomes the first of its process to ask.
    pub(crate) ttl: Duration,
}

impl Wake {
    /// Waits until it is worth to ask.
    pub(crate) async fn chance(&mut self, stand: Stand, pace: Pace) {
        let outside = matches!(stand, Stand::Outside);
        let crowd = u32::try_from(self.crowd()).unwrap_or(u32::MAX);
        let mut first = !outside || self.is_first();
        let mut watching = std::pin::pin!(sleep(pace.watching));
        // The first asks for all, but may be busy with other things.
        let patience = pace.watching.saturating_mul(crowd);
        let mut patience = std::pin::pin!(sleep(patience));
        let mut expiry = std::pin::pin!(sleep(pace.expiry));
        let mut blind = std::pin::pin!(sleep(pace.blind));
        let (mut due, mut was_live) = (None, false);
        loop {
            let sight = *self.sight.borrow_and_update();
            let now = Instant::now();
            if !first && self.is_first() {
                // Most likely the one before it was granted: what was in its way is gone.
                first = true;
                watching.as_mut().reset(now + pace.watching);
                expiry.as_mut().reset(now + pace.ttl);
            }
            let delay = self.delay(stand, sight, first, fastrand::f64());
            // Other news must not make it hold back for longer.
            due = delay.map(|delay| due.unwrap_or(now + delay));
            if was_live && !sight.live {
                // Or all whom one stream told would ask as one when it breaks.
                blind.as_mut().reset(now + pace.blind);
            }
            was_live = sight.live;
            tokio::select! {
                biased;
                // `self` keeps the sender.
                _ = self.sight.changed() => {}
                () = sleep_until(due.unwrap_or(now)), if due.is_some() => {
                    // Who could not be told before, and asks now that it can, races with nobody.
                    self.prompted = self.asked.live;
                    return;
                }
                () = &mut expiry, if first => return,
                () = &mut blind, if !sight.live => return,
                () = &mut watching, if first => return,
                () = &mut patience, if !first => return,
            }
        }
    }

    /// How long it holds back before it asks; `None`: there is nothing to ask for.
    fn delay(&self, stand: Stand, sight: Sight, first: bool, luck: f64) -> Option<Duration> {
        if sight.freed == self.asked.freed {
            return None;
        }
        // It asks for a place in the queue, whoever has the lock.
        if matches!(stand, Stand::Outside) && first && self.passes(sight) {
            return Some(Duration::ZERO);
        }
        let alone = self.mode == Mode::Exclusive;
        if alone && !sight.free {
            return None;
        }
        let crowd = |count: usize| SPREAD * u32::try_from(count).unwrap_or(u32::MAX);
        let window = match stand {
            Stand::Outside if self.mode == Mode::Shared => crowd(self.crowd()),
            // The others come after it.
            Stand::Outside if first => self.window(),
            Stand::Outside => return None,
            Stand::InLine { ahead, queue } => {
                let granted = sight.granted.saturating_sub(self.asked.granted);
                let granted = usize::try_from(granted).unwrap_or(usize::MAX);
                let left = ahead.saturating_sub(granted);
                match self.mode {
                    Mode::Exclusive | Mode::Shared if left > 0 => return None,
                    Mode::Exclusive => Duration::ZERO,
                    Mode::Shared => crowd(queue),
                    Mode::Permit { limit } if left >= limit as usize => return None,
                    Mode::Permit { .. } => crowd(left),
                }
            }
        };
        Some(window.mul_f64(luck.clamp(0.0, 1.0)))
    }
}
