//! How long it took until somebody got the lock of a holder that died or stood still.

use std::collections::HashMap;
use std::time::Duration;

use crate::history::{Event, Side, What};

/// Who holds a key alone, by the grants as they were answered.
struct Holder {
    client: u32,
    lease: u32,
    /// When it died, or stood still last.
    stopped: Option<u64>,
}

/// An acquisition under way.
struct Asked<'a> {
    at: u64,
    key: &'a str,
    exclusive: bool,
}

#[derive(Default)]
struct Watch<'a> {
    asked: HashMap<(u32, u32), Asked<'a>>,
    holders: HashMap<&'a str, Holder>,
    /// Since when servers and network are well; `None` while they are not.
    well: Option<u64>,
    slowest: Option<Duration>,
}

/// The slowest of those that came while servers and network were well: counted from when the holder stopped, all was well,
/// and the next had asked, whichever came last.
pub(crate) fn slowest(events: &[Event]) -> Option<Duration> {
    let mut watch = Watch {
        well: Some(0),
        ..Watch::default()
    };
    for event in events {
        watch.note(event);
    }
    watch.slowest
}

impl<'a> Watch<'a> {
    fn note(&mut self, event: &'a Event) {
        let client = event.client;
        match &event.what {
            What::Fault { .. } => self.well = None,
            What::Healed => self.well = Some(event.at),
            What::Acquire {
                lease, key, side, ..
            } => {
                let exclusive = *side == Side::Exclusive;
                let at = event.at;
                self.asked
                    .insert((client, *lease), Asked { at, key, exclusive });
            }
            What::Granted { lease, .. } => self.granted(event.at, client, *lease),
            What::Release { lease } => self
                .holders
                .retain(|_, it| (it.client, it.lease) != (client, *lease)),
            What::Crashed | What::Paused => {
                let holders = self.holders.values_mut().filter(|it| it.client == client);
                holders.for_each(|it| it.stopped = Some(event.at));
            }
            _ => {}
        }
    }

    fn granted(&mut self, at: u64, client: u32, lease: u32) {
        let Some(asked) = self.asked.remove(&(client, lease)) else {
            return;
        };
        let holder = Holder {
            client,
            lease,
            stopped: None,
        };
        // Sharers stand beside each other: whose place the next one takes is not to be seen.
        let before = if asked.exclusive {
            self.holders.insert(asked.key, holder)
        } else {
            self.holders.remove(asked.key)
        };
        let stopped = before.and_then(|before| before.stopped);
        if let (Some(stopped), Some(well)) = (stopped, self.well) {
            let since = stopped.max(well).max(asked.at);
            let took = Duration::from_nanos(at.saturating_sub(since));
            self.slowest = self.slowest.max(Some(took));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(at: u64, client: u32, what: What) -> Event {
        Event { at, client, what }
    }

    fn acquire() -> What {
        What::Acquire {
            lease: 0,
            key: "k".to_owned(),
            side: Side::Exclusive,
            fair: false,
            ttl: 2,
            wait: 9,
            owner: None,
        }
    }

    #[test]
    fn counts_from_whatever_came_last() {
        let granted = |token| What::Granted { lease: 0, token };
        let name = "primary killed".to_owned();
        let mut events = vec![
            event(1, 1, acquire()),
            event(2, 1, granted(1)),
            event(3, 2, acquire()),
            event(4, 1, What::Crashed),
            event(20, 2, granted(2)),
        ];
        assert_eq!(slowest(&events), Some(Duration::from_nanos(16)));
        events.insert(4, event(5, 0, What::Fault { name }));
        assert_eq!(slowest(&events), None);
        events.insert(5, event(15, 0, What::Healed));
        assert_eq!(slowest(&events), Some(Duration::from_nanos(5)));
    }
}
