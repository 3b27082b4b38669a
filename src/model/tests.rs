use std::collections::BTreeSet;
use std::io::Write;
use std::time::{Duration, Instant};

use stateright::{Checker, HasDiscoveries, Model};

use crate::Mode;
use crate::Mode::{Exclusive, Shared};

use super::Check;
use super::bug::Bug;
use super::invariant::{Invariant, WITNESSES};
use super::scenario::{Faults, Role, Scenario};

const TWO: Mode = Mode::Permit { limit: 2 };
const ONE: Mode = Mode::Permit { limit: 1 };

fn all() -> Vec<Scenario> {
    vec![
        owners(),
        exclusive(),
        swaps(),
        readers(),
        permits(),
        fair(),
        upgrades(),
        late_upgrade(),
        downgrade(),
        long_lived(),
        fail_overs(),
        clocks(),
        writes(),
        dates(),
        walls(),
        deleted(),
        lies(),
    ]
}

fn exclusive() -> Scenario {
    let faults = Faults {
        duplicates: 1,
        ..Faults::default()
    };
    Scenario {
        ticks: 3,
        faults,
        ..Scenario::new("exclusive", &[Role::of(Exclusive).renews(); 2])
    }
}

fn swaps() -> Scenario {
    let faults = Faults::default();
    Scenario {
        faults,
        ..exclusive().by_client()
    }
    .named("exclusive, by swaps")
}

fn readers() -> Scenario {
    let roles = [Role::of(Shared), Role::of(Shared), Role::of(Exclusive)];
    Scenario {
        ticks: 3,
        ..Scenario::new("readers and a writer", &roles)
    }
}

fn permits() -> Scenario {
    let roles = [Role::of(TWO), Role::of(TWO), Role::of(ONE)];
    Scenario {
        ticks: 3,
        ..Scenario::new("permits, limits that differ", &roles)
    }
}

fn fair() -> Scenario {
    let roles = [
        Role::of(Exclusive),
        Role::fair(Exclusive).asks(2),
        Role::fair(Exclusive).asks(2),
    ];
    Scenario {
        // So long that a turn is over, and a place in the queue is not.
        tick: Duration::from_secs(5),
        ttl: Duration::from_secs(4),
        ticks: 1,
        ..Scenario::new("fair queue", &roles)
    }
}

/// Its predecessor is dead, though not what that one sent.
fn owners() -> Scenario {
    let faults = Faults {
        crashes: 1,
        ..Faults::default()
    };
    let roles = [Role::of(Exclusive).owned(200), Role::of(Exclusive)];
    Scenario {
        ticks: 1,
        faults,
        ..Scenario::new("an owner comes back", &roles).by_client()
    }
}

fn upgrades() -> Scenario {
    let roles = [
        Role::of(Shared).then(Exclusive),
        Role::of(Shared).then(Exclusive),
    ];
    Scenario {
        ticks: 1,
        ..Scenario::new("two upgrade", &roles)
    }
}

fn late_upgrade() -> Scenario {
    let roles = [Role::of(Shared).then(Exclusive), Role::of(Exclusive)];
    Scenario {
        ticks: 3,
        ..Scenario::new("one upgrades late", &roles)
    }
}

fn downgrade() -> Scenario {
    let roles = [Role::of(Exclusive).then(Shared), Role::of(Shared)];
    Scenario {
        ticks: 2,
        ..Scenario::new("one downgrades", &roles)
    }
}

/// Long enough for the database to collect the record.
fn long_lived() -> Scenario {
    let faults = Faults {
        deletions: 1,
        ..Faults::default()
    };
    Scenario {
        tick: Duration::from_hours(12),
        ttl: Duration::from_hours(24),
        ticks: 8,
        faults,
        ..Scenario::new("long leases, purged", &[Role::of(Exclusive).renews(); 2])
    }
}

fn fail_overs() -> Scenario {
    let faults = Faults {
        failovers: 2,
        ..Faults::default()
    };
    Scenario {
        faults,
        ..Scenario::new("failover", &[Role::of(Exclusive).renews(); 2])
    }
}

fn clocks() -> Scenario {
    let faults = Faults {
        freezes: 2,
        ..Faults::default()
    };
    Scenario {
        faults,
        ..Scenario::new(
            "clocks that stand still",
            &[Role::of(Exclusive).renews(); 2],
        )
    }
}

fn writes() -> Scenario {
    Scenario {
        writes: 1,
        ..Scenario::new("late writes", &[Role::of(Exclusive); 2])
    }
}

/// An expired lease is taken over after two ticks, by when a `Date` has told of it.
fn dates() -> Scenario {
    Scenario {
        tick: Duration::from_secs(3),
        ttl: Duration::from_millis(400),
        ticks: 2,
        ..Scenario::new("time by Dates", &[Role::of(Exclusive); 2]).by_dates()
    }
}

/// A lease that outlasts a tick; written by a clock that is one behind, it has expired by then.
const OUTLASTS: Duration = Duration::from_millis(3_400);

fn walls() -> Scenario {
    let faults = Faults {
        steps: 1,
        ..Faults::default()
    };
    Scenario {
        exists: true,
        faults,
        ticks: 1,
        ttl: OUTLASTS,
        ..dates()
    }
    .named("Dates, a wall clock that steps")
}

fn deleted() -> Scenario {
    let faults = Faults {
        steps: 1,
        deletions: 1,
        ..Faults::default()
    };
    Scenario {
        faults,
        ticks: 1,
        ttl: OUTLASTS,
        ..dates()
    }
    .named("Dates, a record deleted")
}

fn lies() -> Scenario {
    let faults = Faults {
        lies: 1,
        ..Faults::default()
    };
    Scenario {
        roles: vec![Role::of(Exclusive), Role::of(Exclusive).asks(2)],
        exists: true,
        faults,
        ticks: 1,
        ttl: OUTLASTS,
        ..dates()
    }
    .named("a Date that is wrong")
}

/// Beside the test harness's capture: what was looked at is worth knowing when nothing is wrong too.
fn say(line: &str) {
    let _ = writeln!(std::io::stdout(), "{line}");
}

#[test]
fn every_invariant_holds_in_every_scenario() {
    let mut seen = BTreeSet::new();
    let mut sum = 0;
    for scenario in all() {
        let name = scenario.name;
        let begin = Instant::now();
        let check = Check {
            scenario,
            bug: None,
        };
        let checker = check.checker().threads(2).spawn_bfs().join();
        let found = checker.discoveries();
        let broken: Vec<_> = found
            .iter()
            .filter(|(name, _)| !WITNESSES.contains(name))
            .map(|(name, path)| {
                let actions = path.clone().into_actions().into_iter();
                let steps: Vec<_> = actions.map(|action| format!("{action:?}")).collect();
                format!("{name}:\n  {}", steps.join("\n  "))
            })
            .collect();
        assert!(broken.is_empty(), "{name}: {}", broken.join("\n"));
        seen.extend(found.into_keys());
        sum += checker.unique_state_count();
        say(&format!(
            "model  {name:<30} {:>9} states, depth {:>2}, {:.1?}",
            checker.unique_state_count(),
            checker.max_depth(),
            begin.elapsed(),
        ));
    }
    let never: Vec<_> = WITNESSES
        .iter()
        .filter(|name| !seen.contains(*name))
        .collect();
    assert!(never.is_empty(), "never seen: {never:?}");
    say(&format!(
        "model  {sum} states in all; nothing violated, {} witnesses seen",
        seen.len()
    ));
}

#[test]
fn every_seeded_bug_is_found() {
    use Invariant::{I1, I2, I3, I4, I5, I7, I8, I10, I11, I12, I14};
    let bugs = [
        (Bug::ReleasesByKey, exclusive(), I5),
        (Bug::RenewsByKey, exclusive(), I5),
        (Bug::RenewsWithoutToken, exclusive(), I4),
        (Bug::DeadlineFromAnswer, exclusive(), I3),
        (Bug::SwapCountsAnew, swaps(), I3),
        (Bug::SwapUnconditioned, swaps(), I3),
        (Bug::SwapOnRevAlone, long_lived().by_client(), I2),
        (Bug::GrantsByOwner, upgrades(), I3),
        (Bug::ForgetsClosed, exclusive(), I7),
        (Bug::TakesOverBlindly, owners(), I3),
        (Bug::TurnEndsEarly, owners(), I3),
        (Bug::ChangeNamesNothing, late_upgrade(), I4),
        (Bug::ChangesBesideOthers, upgrades(), I12),
        (Bug::EvictsEarly, exclusive(), I12),
        (Bug::EvictsNobody, exclusive(), I8),
        (Bug::IgnoresLimit, permits(), I10),
        (Bug::CountsDeadOut, permits(), I10),
        (Bug::TokenFromNothing, long_lived(), I2),
        (Bug::PurgesWithoutRetention, long_lived(), I14),
        (Bug::Unconfirmed, fail_overs(), I3),
        (Bug::Unfenced, writes(), I1),
        (Bug::BargesIn, fair(), I11),
        (Bug::DeadHeadStays, fair(), I8),
        (Bug::BelievesItsWrite, walls(), I3),
        (Bug::EvictsByTheWall, walls(), I12),
        (Bug::CreatesByTheWall, deleted(), I2),
        (Bug::BelievesOneDate, lies(), I12),
    ];
    let mut missed = Vec::new();
    for (bug, scenario, invariant) in bugs {
        let name = scenario.name;
        let check = Check {
            scenario,
            bug: Some(bug),
        };
        let wanted = HasDiscoveries::AnyOf([invariant.name()].into());
        let checker = check
            .checker()
            .threads(2)
            .finish_when(wanted)
            .spawn_bfs()
            .join();
        let depth = checker
            .discovery(invariant.name())
            .map(|path| path.into_actions().len());
        let how = depth.map_or("NOT FOUND".to_owned(), |depth| {
            format!("after {depth:>2} steps")
        });
        let bug = format!("{bug:?}");
        say(&format!(
            "seeded {bug:<24} {how}  {:<28} {}",
            name,
            invariant.name()
        ));
        if depth.is_none() {
            let others: Vec<_> = checker.discoveries().into_keys().collect();
            missed.push(format!("{bug} ({others:?})"));
        }
    }
    assert!(missed.is_empty(), "not found: {missed:?}");
}
