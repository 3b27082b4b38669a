//! What the server writes by itself is what the rules would have written.

use std::time::Duration;

use anyhow::{Context, Result};
use doclock::rules::{self, Released, Renewed, ServerTime, Verdict};
use doclock::{
    AcquireRequest, Backend, Label, LockRecord, Mode, Payload, ReleaseRequest, RenewRequest,
    Timestamp,
};
use mongodb::bson::{Bson, DateTime, Document, doc};

use super::fixture::{Fixture, dead, free, past, request, secs, soon};

const SKEW: Duration = Duration::from_millis(500);
const MODES: [Mode; 4] = [
    Mode::Exclusive,
    Mode::Shared,
    Mode::Permit { limit: 3 },
    Mode::Permit { limit: 256 },
];

/// Two live holders and one dead one, of a mode.
fn shared(mode: &str, limit: i64) -> Document {
    let holder = |name: &str, expires_at: Bson| {
        doc! {
            "owner": name, "id": name, "token": 40_i64, "acquiredAt": past(), "expiresAt": expires_at,
            "ttlMs": 20_000_i64, "seq": 1_i64, "data": "{}",
        }
    };
    let mut document = free();
    document.extend(doc! {
        "mode": mode, "limit": limit,
        "holders": [holder("a", soon(9000)), holder("b", past()), holder("c", soon(9000))],
    });
    document
}

/// What may stand under a key before.
fn seeds() -> Vec<Document> {
    let mut unpinned = free();
    unpinned.remove("pinned");
    let mut bare = unpinned.clone();
    for field in [
        "freeAt",
        "closed",
        "slotStarted",
        "slotDone",
        "state",
        "purgeAt",
    ] {
        bare.remove(field);
    }
    let mut ahead = bare.clone();
    ahead.insert("token", 1_i64 << 60);
    let mut pinned_late = shared("shared", 0);
    pinned_late.insert("pinned", soon(1 << 40));
    let mut far = shared("shared", 0);
    let holders = far.get_array_mut("holders").unwrap();
    holders[0]
        .as_document_mut()
        .unwrap()
        .insert("expiresAt", soon(99_000_000));
    let mut taken = shared("exclusive", 0);
    taken.get_array_mut("holders").unwrap().truncate(2);
    vec![
        doc! {},
        free(),
        unpinned,
        bare,
        ahead,
        dead("d"),
        shared("shared", 0),
        shared("permit", 5),
        shared("permit", 2),
        pinned_late,
        far,
        taken,
    ]
}

fn now_of(record: &LockRecord, request: &AcquireRequest) -> Result<Timestamp> {
    Ok(record
        .holder(&request.id)
        .context("not a holder")?
        .acquired_at)
}

#[tokio::test]
async fn grants_are_those_of_the_rules() -> Result<()> {
    let locks = Fixture::new().await?;
    let (mut granted, mut fast) = (0, 0);
    for (index, seed) in seeds().iter().enumerate() {
        for mode in MODES {
            for owner in ["new", "a", "b"] {
                let mut request = request(&format!("{index}"), mode);
                request.owner = doclock::Owner::new(owner)?;
                request.label = (owner == "new").then(|| Label::new("l")).transpose()?;
                request.data = (owner == "a").then(|| Payload::new(&1)).transpose()?;
                locks.put(request.key.as_str(), seed).await?;
                let before = locks.backend.inspect(&request.key).await?;
                let bytes = locks.bytes(request.key.as_str()).await?;
                locks.commands.take();
                let outcome = locks.backend.acquire(&request).await?;
                let sent = locks.commands.take().len();
                let after = locks.backend.inspect(&request.key).await?;
                let at = format!("{seed} {mode:?} {owner} {outcome:?}");
                if let doclock::AcquireOutcome::Granted(_) = outcome {
                    let after = after.context("gone")?;
                    let time = ServerTime::exact(now_of(&after, &request)?, SKEW);
                    let verdict = rules::admit(before.as_ref(), &request, &time);
                    assert_eq!(verdict, Verdict::Granted(Box::new(after)), "{at}");
                    granted += 1;
                    fast += usize::from(sent == 1);
                } else {
                    let time = ServerTime::exact(
                        Timestamp::from_millis(DateTime::now().timestamp_millis()),
                        SKEW,
                    );
                    let Verdict::Held { mended, .. } =
                        rules::admit(before.as_ref(), &request, &time)
                    else {
                        anyhow::bail!("the rules grant {at}");
                    };
                    match mended {
                        Some(mended) => assert_eq!(after.context("gone")?.rev, mended.rev, "{at}"),
                        None => assert_eq!(locks.bytes(request.key.as_str()).await?, bytes, "{at}"),
                    }
                }
            }
        }
    }
    assert!(
        granted > 80 && fast > 60,
        "{granted} grants, {fast} of them by one request"
    );
    Ok(())
}

#[tokio::test]
async fn renewals_and_releases_are_those_of_the_rules() -> Result<()> {
    let locks = Fixture::new().await?;
    let (mut renewed, mut released) = (0, 0);
    for (index, seed) in seeds().iter().enumerate() {
        for mode in MODES {
            for (id, ttl, restamp) in [
                ("a", 5, false),
                ("a", 60, true),
                ("b", 30, true),
                ("d", 1, false),
            ] {
                let mut acquire = request(&format!("{index}"), mode);
                acquire.id = doclock::LeaseId::new(id)?;
                acquire.ttl = secs(ttl);
                let token = if index == 5 { 41 } else { 40 };
                let mut request = RenewRequest::new(&acquire, token, 2);
                request.restamp = restamp;
                locks.put(acquire.key.as_str(), seed).await?;
                let before = locks.backend.inspect(&acquire.key).await?;
                locks.backend.renew(&request).await?;
                let after = locks.backend.inspect(&acquire.key).await?;
                let holder = after.as_ref().and_then(|record| record.holder(&acquire.id));
                // Where a later expiry stays, the time of the renewal does not matter.
                let now = holder.map(|holder| {
                    if restamp {
                        holder.acquired_at
                    } else {
                        holder.expires_at.saturating_sub(holder.ttl.as_duration())
                    }
                });
                let time = ServerTime::exact(now.unwrap_or_default(), SKEW);
                let at = format!("{seed} {mode:?} {id} {ttl}");
                match rules::renew(before.as_ref(), &request, &time) {
                    Renewed::Write(next) => {
                        assert_eq!(Some(*next), after, "{at}");
                        renewed += 1;
                    }
                    _ => assert_eq!(after, before, "{at}"),
                }

                let request = ReleaseRequest::new(&acquire.key, &acquire.owner, &acquire.id);
                let before = locks.backend.inspect(&acquire.key).await?;
                locks.backend.release(&request).await?;
                let after = locks.backend.inspect(&acquire.key).await?;
                let now = after
                    .as_ref()
                    .and_then(|record| record.free_at)
                    .unwrap_or_default();
                match rules::release(before.as_ref(), &request, &ServerTime::exact(now, SKEW)) {
                    Released::Write(next) => {
                        assert_eq!(Some(*next), after, "{at}");
                        released += 1;
                    }
                    _ => assert_eq!(after, before, "{at}"),
                }
            }
        }
    }
    assert!(
        renewed > 20 && released > 20,
        "{renewed} renewed, {released} released"
    );
    Ok(())
}
