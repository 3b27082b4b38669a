//! What a backend that sees its records change tells those who wait, so that they need not ask.

mod chance;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

use crate::sync::{Mutex, MutexGuard};
use crate::{Key, Mode};

pub(crate) use self::chance::{Pace, Stand};

/// The window after the first lost race for a lock.
const NARROW: Duration = Duration::from_millis(4);
/// The window of a large crowd of processes.
const WIDE: Duration = Duration::from_millis(250);
/// Who sees the lock go to others so often without it stops trying its luck.
const PASSED: u64 = 4;

/// Tells those who wait for a key when it is worth to ask for it: what a [`Backend`](crate::Backend) that sees its
/// records change as they do has one of, and answers [`watch`](crate::Backend::watch) from.
///
/// Clones are one. Whoever waits still asks now and then, so a change that is not told costs time, and nothing else.
#[derive(Clone, Debug, Default)]
pub struct Wakes(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    /// How many wait.
    waiters: watch::Sender<usize>,
}

impl Default for Shared {
    fn default() -> Self {
        Self {
            state: Mutex::default(),
            waiters: watch::channel(0).0,
        }
    }
}

#[derive(Debug, Default)]
struct State {
    live: bool,
    next: u64,
    keys: HashMap<Key, Waiting>,
}

/// Those who wait for one key.
#[derive(Debug)]
struct Waiting {
    /// By their numbers, so in the order of arrival.
    line: Vec<(u64, Mode)>,
    sight: watch::Sender<Sight>,
    window: Duration,
}

/// What was seen of a key. It counts from some instant on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Sight {
    /// Every change is told.
    live: bool,
    /// How often somebody left, or may have.
    freed: u64,
    /// How often somebody was granted it.
    granted: u64,
    /// Nobody was granted it since somebody left.
    free: bool,
}

/// Somebody who waits for a key. It counts as waiting until it is dropped.
#[derive(Debug)]
pub struct Wake {
    of: Wakes,
    key: Key,
    number: u64,
    mode: Mode,
    sight: watch::Receiver<Sight>,
    /// What was known when the lock was last asked for.
    asked: Sight,
    /// It asks because it was told that the lock is free.
    prompted: bool,
}

impl Wakes {
    /// Takes somebody in who waits for a key, to hold it in this mode.
    #[must_use]
    pub fn watch(&self, key: &Key, mode: Mode) -> Wake {
        let mut state = self.state();
        let (live, number) = (state.live, state.next);
        state.next += 1;
        let waiting = state.keys.entry(key.clone()).or_insert_with(|| Waiting {
            line: Vec::new(),
            sight: watch::channel(Sight {
                live,
                ..Sight::default()
            })
            .0,
            window: Duration::ZERO,
        });
        waiting.line.push((number, mode));
        let sight = waiting.sight.subscribe();
        self.0.waiters.send_modify(|count| *count += 1);
        let asked = *sight.borrow();
        Wake {
            of: self.clone(),
            key: key.clone(),
            number,
            mode,
            sight,
            asked,
            prompted: false,
        }
    }

    /// From now on every change is told. Whatever happened before may have been missed.
    pub fn live(&self) {
        self.set_live(true);
    }

    /// From now on changes may be missed: those who wait ask as often as if there was nothing to tell them.
    pub fn blind(&self) {
        self.set_live(false);
    }

    /// Whether every change is told.
    #[must_use]
    pub fn is_live(&self) -> bool {
        self.state().live
    }

    /// How many wait.
    #[must_use]
    pub fn waiters(&self) -> usize {
        *self.0.waiters.borrow()
    }

    /// Somebody left the key, or there may be room for another reason.
    pub fn freed(&self, key: &Key) {
        self.tell(key, |sight| {
            sight.freed += 1;
            sight.free = true;
        });
    }

    /// Somebody was granted the key.
    pub fn granted(&self, key: &Key) {
        self.tell(key, |sight| {
            sight.granted += 1;
            sight.free = false;
        });
    }

    /// Waits until nobody has waited for so long.
    pub async fn unused(&self, linger: Duration) {
        let mut waiters = self.0.waiters.subscribe();
        loop {
            // The sender lives as long as `self`.
            let _ = waiters.wait_for(|count| *count == 0).await;
            tokio::select! {
                _ = waiters.wait_for(|count| *count > 0) => {}
                () = tokio::time::sleep(linger) => return,
            }
        }
    }

    fn set_live(&self, live: bool) {
        let mut state = self.state();
        state.live = live;
        for waiting in state.keys.values() {
            waiting.sight.send_modify(|sight| {
                sight.live = live;
                if live {
                    sight.freed += 1;
                    sight.free = true;
                }
            });
        }
    }

    fn tell(&self, key: &Key, news: impl FnOnce(&mut Sight)) {
        if let Some(waiting) = self.state().keys.get(key) {
            waiting.sight.send_modify(news);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        let state = self.0.state.lock();
        state.unwrap_or_else(PoisonError::into_inner)
    }
}

impl Wake {
    /// Whether every change is told.
    pub(crate) fn is_live(&self) -> bool {
        self.sight.borrow().live
    }

    /// The lock is asked for now: what was seen before says nothing any more.
    pub(crate) fn asks(&mut self) {
        self.asked = *self.sight.borrow_and_update();
    }

    /// The answer to that: granted or not. Of several processes that race for a lock, each learns from it how long to
    /// hold back, so that most of them see another's grant before they ask.
    pub(crate) fn answered(&mut self, granted: bool) {
        if !std::mem::take(&mut self.prompted) {
            return;
        }
        if let Some(waiting) = self.of.state().keys.get_mut(&self.key) {
            waiting.window = window(waiting.window, granted);
        }
    }

    /// Whether others were granted the lock so often since it was last asked for that it will hardly be had by luck.
    pub(crate) fn is_passed(&self) -> bool {
        self.passes(*self.sight.borrow())
    }

    fn passes(&self, sight: Sight) -> bool {
        sight.granted - self.asked.granted >= PASSED
    }

    /// Whether nobody of this process came before it who wants the same.
    fn is_first(&self) -> bool {
        let state = self.of.state();
        let waiting = state.keys.get(&self.key);
        let mut like_me = waiting.into_iter().flat_map(|waiting| &waiting.line);
        let first = like_me.find(|(_, mode)| mode.name() == self.mode.name());
        first.is_none_or(|(number, _)| *number == self.number)
    }

    /// How many of this process wait for the key.
    fn crowd(&self) -> usize {
        let state = self.of.state();
        let waiting = state.keys.get(&self.key);
        waiting.map_or(1, |waiting| waiting.line.len())
    }

    fn window(&self) -> Duration {
        let state = self.of.state();
        let waiting = state.keys.get(&self.key);
        waiting.map_or(Duration::ZERO, |waiting| waiting.window)
    }
}

impl Drop for Wake {
    fn drop(&mut self) {
        let mut state = self.of.state();
        if let Some(waiting) = state.keys.get_mut(&self.key) {
            waiting.line.retain(|(number, _)| *number != self.number);
            if waiting.line.is_empty() {
                state.keys.remove(&self.key);
            } else {
                // Who comes next looks for itself whether there is something for it.
                waiting.sight.send_modify(|_| {});
            }
        }
        drop(state);
        self.of.0.waiters.send_modify(|count| *count -= 1);
    }
}

/// Twice as wide after a race that was lost, by a quarter narrower after one that was won.
fn window(window: Duration, won: bool) -> Duration {
    if !won {
        return (window * 2).clamp(NARROW, WIDE);
    }
    let less = window.mul_f64(0.75);
    if less < NARROW / 4 {
        Duration::ZERO
    } else {
        less
    }
}
