//! A holder is stopped past the end of its leases, and its clock does not notice. Others take its locks, and write; then it
//! goes on, and its writes come late.

use std::time::Duration;

use anyhow::{Context, Result};
use doclock::{Lease, LockClient};
use futures_util::future::try_join_all;

use super::store::Store;
use crate::processes::site::{Site, on_every_server};
use crate::processes::workers::Worker;

/// How many late writes of each form.
const TIMES: usize = 50;
pub const LATE_TTL: Duration = Duration::from_secs(3);
/// The control's form.
pub const UNGUARDED: &str = "unguarded";

/// What the `number`th late write of a form is for.
pub fn item(form: &str, number: usize) -> String {
    format!("item:{form}:{number}")
}

/// Each in the order of the ways to write that they are for.
async fn take_over(locks: &LockClient, site: Site, store: &Store) -> Result<Vec<Lease>> {
    let wait = 2 * site.takeover(LATE_TTL);
    let take = |form| locks.lock(form).wait(wait).acquire();
    Ok(try_join_all(store.forms().into_iter().map(take)).await?)
}

on_every_server! {
    async fn every_guarded_write_that_is_late_is_refused(site: Site) {
        let url = site.fresh().await?;
        let store = Store::of(&url).await?;
        let locks = store.locks().build();
        let mut paused = Worker::start(&url).await?;
        paused.tell(&format!("fence late {TIMES}")).await?;
        paused.answer("stopping").await?;

        let forms = store.forms();
        let leases = take_over(&locks, site, &store).await?;
        for number in 0..TIMES {
            for (form, lease) in forms.iter().zip(&leases) {
                let id = item(form, number);
                store.write_unguarded(&id, "new").await?;
                store.read(lease, &id).await?.context("fenced")?;
            }
            store.write_unguarded(&item(UNGUARDED, number), "new").await?;
        }

        paused.resume()?;
        let refused = paused.answer("fence").await?;
        let all = TIMES * forms.len();
        assert_eq!(refused, format!("fenced {all} applied 0"));
        for number in 0..TIMES {
            for form in &forms {
                assert_eq!(store.by(&item(form, number)).await?, "new", "{form} {number}");
            }
            // The control: without a guard it overwrites its successor's.
            assert_eq!(store.by(&item(UNGUARDED, number)).await?, "late");
        }
        println!("{site:?}: {refused}, {TIMES} by each of {forms:?}; {TIMES} of {TIMES} unguarded ones are lost");
    }
}
