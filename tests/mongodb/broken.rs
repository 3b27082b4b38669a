//! What is not a well-formed record is refused by name, and left as it is.

use std::time::Duration;

use anyhow::{Context, Result};
use doclock::{
    AcquireRequest, Backend, Error, ErrorKind, Key, LeaseId, Mode, Owner, Queueing, ReleaseRequest,
    RenewRequest, Slot, SlotStart, Timestamp,
};
use futures_util::stream::{self, StreamExt, TryStreamExt};
use mongodb::bson::doc;

use super::cases::{ID, of_the_elements, of_the_record};
use super::fixture::{Fixture, dead, free, request};

fn refused<T: std::fmt::Debug>(result: Result<T, Error>, field: &str) -> Result<()> {
    let error = result.err().context("it was accepted")?;
    anyhow::ensure!(error.kind() == ErrorKind::CorruptRecord, "{error:?}");
    anyhow::ensure!(error.to_string().contains(&format!("`{field}`")), "{error}");
    Ok(())
}

async fn every_call_refuses(locks: &Fixture, key: &Key, field: &str) -> Result<()> {
    let modes = [
        Mode::Exclusive,
        Mode::Shared,
        Mode::Permit { limit: 3 },
        Mode::Permit { limit: 9 },
    ];
    for mode in modes {
        let mut acquire = request(key.as_str(), mode);
        refused(locks.backend.acquire(&acquire).await, field).context("acquire")?;
        acquire.owner = Owner::new("o")?;
        refused(locks.backend.acquire(&acquire).await, field).context("acquire as `o`")?;
        // As the one who waits in the queue.
        (acquire.owner, acquire.id) = (Owner::new("w")?, LeaseId::new("i")?);
        acquire.replaces = Some(LeaseId::new(ID)?);
        refused(locks.backend.acquire(&acquire).await, field).context("change the mode")?;
        acquire.replaces = None;
        (acquire.queueing, acquire.seq) = (Queueing::Fair, 9);
        refused(locks.backend.acquire(&acquire).await, field).context("join")?;
        acquire.queued = true;
        refused(locks.backend.acquire(&acquire).await, field).context("poll")?;
    }
    let starts = [
        SlotStart::Every(Duration::from_hours(1)),
        SlotStart::At(Timestamp::default()),
        SlotStart::Once,
    ];
    for start in starts {
        let mut run = request(key.as_str(), Mode::Exclusive);
        run.slot = Some(Slot::new(start));
        refused(locks.backend.acquire(&run).await, field).context("run")?;
        (run.owner, run.id) = (Owner::new("w")?, LeaseId::new("i")?);
        (run.queueing, run.queued, run.seq) = (Queueing::Fair, true, 9);
        refused(locks.backend.acquire(&run).await, field).context("run in the queue")?;
    }
    for id in [LeaseId::new(ID)?, LeaseId::new("i")?, LeaseId::random()] {
        let mut acquire =
            AcquireRequest::new(key, &Owner::new("o")?, modes[2], super::fixture::secs(1));
        acquire.id = id.clone();
        let renewal = RenewRequest::new(&acquire, 41, 9);
        refused(locks.backend.renew(&renewal).await, field).context("renew")?;
        let mut many = locks.backend.renew_many(&[renewal]).await;
        refused(many.pop().context("no outcome")?, field).context("renew many")?;
        let mut release = ReleaseRequest::new(key, &acquire.owner, &id);
        refused(locks.backend.release(&release).await, field).context("release")?;
        release.queued = true;
        release.slot_done = Some(Timestamp::default());
        refused(locks.backend.release(&release).await, field).context("leave")?;
    }
    refused(locks.backend.force_release(key).await, field).context("force_release")?;
    refused(locks.backend.inspect(key).await, field).context("inspect")
}

#[tokio::test]
async fn broken_documents_are_named_and_left_alone() -> Result<()> {
    let locks = Fixture::new().await?;
    let cases: Vec<_> = of_the_record()
        .into_iter()
        .chain(of_the_elements())
        .collect();
    assert!(cases.len() > 200, "{}", cases.len());
    let each = cases.iter().enumerate();
    let each = each.map(async |(index, (field, document))| {
        let key = Key::new(format!("k{index}"))?;
        locks.put(key.as_str(), document).await?;
        let before = locks.bytes(key.as_str()).await?;
        let refusals = every_call_refuses(&locks, &key, field).await;
        refusals.with_context(|| format!("{field}: {document}"))?;
        let after = locks.bytes(key.as_str()).await?;
        anyhow::ensure!(after == before, "written: {field}: {document}");
        Ok(())
    });
    stream::iter(each)
        .buffer_unordered(16)
        .try_collect::<()>()
        .await?;
    let listed = locks.backend.list("", None).await?;
    assert!(listed.records.is_empty());
    Ok(())
}

#[tokio::test]
async fn the_unbroken_ones_are_granted() -> Result<()> {
    let locks = Fixture::new().await?;
    for (index, document) in [free(), dead(ID), doc! {}].iter().enumerate() {
        for mode in [Mode::Exclusive, Mode::Shared, Mode::Permit { limit: 3 }] {
            let key = format!("k{index}");
            locks.put(&key, document).await?;
            locks.granted(&request(&key, mode)).await?;
        }
    }
    Ok(())
}
