//! What is not a well-formed record is refused by name, and left as it is.

use anyhow::{Context, Result};
use doclock::{
    AcquireRequest, Backend, Error, ErrorKind, Key, LeaseId, Mode, Owner, ReleaseRequest,
    RenewRequest,
};
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
    }
    for id in [LeaseId::new(ID)?, LeaseId::random()] {
        let mut acquire =
            AcquireRequest::new(key, &Owner::new("o")?, modes[2], super::fixture::secs(1));
        acquire.id = id.clone();
        let renewal = RenewRequest::new(&acquire, 41, 9);
        refused(locks.backend.renew(&renewal).await, field).context("renew")?;
        let release = ReleaseRequest::new(key, &acquire.owner, &id);
        refused(locks.backend.release(&release).await, field).context("release")?;
    }
    refused(locks.backend.inspect(key).await, field).context("inspect")
}

#[tokio::test]
async fn broken_documents_are_named_and_left_alone() -> Result<()> {
    let locks = Fixture::new().await?;
    let cases: Vec<_> = of_the_record()
        .into_iter()
        .chain(of_the_elements())
        .collect();
    assert!(cases.len() > 100, "{}", cases.len());
    for (index, (field, document)) in cases.iter().enumerate() {
        let key = Key::new(format!("k{index}"))?;
        locks.put(key.as_str(), document).await?;
        let before = locks.bytes(key.as_str()).await?;
        let refusals = every_call_refuses(&locks, &key, field).await;
        refusals.with_context(|| format!("{field}: {document}"))?;
        assert_eq!(
            locks.bytes(key.as_str()).await?,
            before,
            "{field}: {document}"
        );
    }
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
