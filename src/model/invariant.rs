//! What must hold, under the names by which the documentation calls it, and what must happen for that to mean anything.

use stateright::Property;

use super::Check;
use super::world::World;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Invariant {
    I1,
    I2,
    I3,
    I4,
    I5,
    I6,
    I7,
    I8,
    I10,
    I11,
    I12,
    I14,
}

impl Invariant {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::I1 => "I1 a fenced resource takes no older token after a newer one",
            Self::I2 => "I2 tokens grow",
            Self::I3 => "I3 nobody believes in a lease beside one that excludes it",
            Self::I4 => "I4 nothing succeeds for a lease after a grant that excludes it",
            Self::I5 => "I5 a renewal or release touches its own lease only",
            Self::I6 => "I6 what is released holds no more",
            Self::I7 => "I7 what was released last is not granted again",
            Self::I8 => "I8 what nobody holds or claims in time is granted",
            Self::I10 => "I10 no more permits than the limit",
            Self::I11 => "I11 nobody passes who came before and had no time to claim",
            Self::I12 => "I12 nobody is evicted before the expiry that the record shows",
            Self::I14 => "I14 no live lease is purged",
        }
    }

    const fn holds(self, world: &World) -> bool {
        !world.ghost.is_broken(self)
    }
}

macro_rules! always {
    ($($invariant:ident),*) => {
        [$(Property::always(Invariant::$invariant.name(), |_: &Check, world: &World| {
            Invariant::$invariant.holds(world)
        })),*]
    };
}

macro_rules! sometimes {
    ($($witness:ident: $name:literal),* $(,)?) => {
        /// What happens in some of the histories.
        pub(super) const WITNESSES: &[&str] = &[$($name),*];

        fn witnesses() -> Vec<Property<Check>> {
            vec![$(Property::sometimes($name, |_: &Check, world: &World| world.ghost.$witness)),*]
        }
    };
}

sometimes! {
    handed_out: "a lease is handed out",
    evicted: "an expired holder is evicted",
    taken_over: "an owner takes its own lock over",
    refused_duplicate: "a late duplicate is refused",
    changed: "a lease changes its mode",
    beside: "a lease stands beside another",
    in_turn: "a waiter takes its turn",
    passed: "a waiter is passed that did not claim",
    late_write: "a write comes after one with a newer token",
    purged: "the database collects a record",
}

pub(super) fn properties() -> Vec<Property<Check>> {
    let mut all = always!(I1, I2, I3, I4, I5, I6, I7, I8, I10, I11, I12, I14).to_vec();
    all.extend(witnesses());
    all
}
