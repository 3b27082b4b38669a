//! `ls`, `show`, `release` and `setup`: what an operator sees of locks that others hold.

use anyhow::{Context, Result};
use doclock::{LeaseId, LockClient, Owner};
use futures_util::future::try_join_all;
use tokio::runtime::Handle;

use super::command::plain;
use super::operator::{run, run_on_terminal};
use crate::processes::site::{Site, dynamodb_url, mongodb_url, on_every_server};
use crate::support::{poll, servers};

/// Under every URL there are these leases: a writer with a label and data, two readers, and a record that is free.
async fn locked(
    locks: &LockClient,
) -> Result<(doclock::Lease, [doclock::Lease<doclock::Shared>; 2])> {
    locks.lock("a:free").acquire().await?.release().await?;
    let writer = locks
        .lock("a:writer")
        .owner("ann")
        .label("nightly")
        .data(&[1, 2]);
    let readers = ["bea", "cid"].map(|owner| locks.shared("b:readers").owner(owner).acquire());
    let readers = try_join_all(readers).await?;
    let readers = readers.try_into().ok().context("two readers")?;
    Ok((writer.acquire().await?, readers))
}

on_every_server! {
    async fn ls_shows_who_holds_what(site: Site) {
        let url = site.fresh().await?;
        let locks = ::doclock::connect(&url).await?;
        let (writer, _readers) = locked(&locks).await?;
        let ls = async |args| run(plain(&url, args)).await;

        let text = ls("ls").await?.with(0)?;
        let lines: Vec<_> = text.lines().collect();
        let columns = ["KEY", "MODE", "OWNER", "LABEL", "TOKEN", "HELD FOR", "EXPIRES IN", "WAITERS"];
        let starts = columns.map(|column| lines[0].find(column).expect(column));
        let cells = |line: &str| {
            let ends = starts[1..].iter().copied().chain([line.len()]);
            let cells = starts.iter().zip(ends).map(|(start, end)| line[*start..end].trim().to_owned());
            cells.collect::<Vec<_>>()
        };
        let mut rows: Vec<_> = lines[1..].iter().map(|line| cells(line)).collect();
        // In the order of their arrival, which is none of this test's.
        rows.sort();
        assert_eq!(rows.len(), 3, "{text}");
        let token = writer.token().to_string();
        assert_eq!(rows[0][..5], ["a:writer", "exclusive", "ann", "nightly", &token], "{text}");
        assert_eq!(rows[0][7], "0", "{text}");
        assert!(rows[0][6].ends_with('s') && rows[0][6] != "expired", "{text}");
        for (row, owner) in rows[1..].iter().zip(["bea", "cid"]) {
            assert_eq!(row[..4], ["b:readers", "shared", owner, "-"], "{text}");
        }

        let keys = |lines: &[serde_json::Value]| -> Vec<String> {
            let keys = lines.iter().filter_map(|line| Some(line["key"].as_str()?.to_owned()));
            keys.collect()
        };
        let json = ls("ls --json").await?.json(0)?;
        assert_eq!(keys(&json), ["a:writer", "b:readers"]);
        assert_eq!(json[0]["holders"][0]["token"], writer.token());
        assert_eq!(json[1]["holders"].as_array().map(Vec::len), Some(2));
        let all = ls("ls --all --json --prefix a:").await?.json(0)?;
        assert_eq!(keys(&all), ["a:free", "a:writer"]);
        assert_eq!(ls("ls --prefix z").await?.with(0)?, "no locks\n");
    }

    async fn show_tells_everything(site: Site) {
        let url = site.fresh().await?;
        let locks = ::doclock::connect(&url).await?;
        let (writer, _readers) = locked(&locks).await?;
        let waiter = tokio::spawn(locks.lock("a:writer").owner("dan").fair().acquire());
        poll::until("dan waits", std::time::Duration::from_mins(1), || async {
            let record = locks.inspect("a:writer").await.ok().flatten();
            record.is_some_and(|record| !record.queue.is_empty())
        })
        .await?;

        let text = run(plain(&url, "show a:writer")).await?.with(0)?;
        let token = writer.token();
        for line in [
            "key           a:writer",
            "mode          exclusive",
            &format!("token         {token}"),
            "holder        ann",
            &format!("  id          {}", writer.id()),
            "  label       nightly",
            "  data        [1,2]",
            "  ttl         30s",
            "waiter        dan",
        ] {
            assert!(text.lines().any(|shown| shown == line), "{line}: {text}");
        }
        let expires = text.lines().find_map(|line| line.strip_prefix("  expires     "));
        let (instant, relative) = expires.and_then(|told| told.split_once(", ")).context("no expiry")?;
        assert!(instant.ends_with('Z') && relative.starts_with("in "), "{text}");

        let mut json = run(plain(&url, "show a:writer --json")).await?.json(0)?;
        let json = json.pop().context("no line")?;
        assert_eq!(json["holders"][0]["data"], serde_json::json!([1, 2]));
        assert_eq!(json["holders"][0]["id"], writer.id().as_str());
        assert_eq!(json["waiters"][0]["owner"], "dan");
        assert_eq!(json["state"], serde_json::Value::Null);

        let unknown = run(plain(&url, "show unknown")).await?;
        assert!(unknown.stderr.contains("no record of `unknown`"), "{unknown:?}");
        assert_eq!(unknown.with(1)?, "");
        let unknown = run(plain(&url, "show unknown --json")).await?;
        assert_eq!(unknown.with(1)?, "null\n");
        waiter.abort();
    }

    async fn release_by_force_asks_first(site: Site) {
        let url = site.fresh().await?;
        let locks = ::doclock::connect(&url).await?;
        let (writer, _readers) = locked(&locks).await?;
        let is_held = async || anyhow::Ok(locks.inspect("a:writer").await?.is_some_and(|seen| !seen.holders.is_empty()));
        let forced = || plain(&url, "release a:writer --force");

        let without = run(plain(&url, "release a:writer")).await?;
        assert_eq!(without.code, Some(64), "{without:?}");
        let unasked = run(forced()).await?;
        assert!(unasked.stderr.contains("held by ann (nightly)"), "{unasked:?}");
        assert!(unasked.stderr.contains("--yes"), "{unasked:?}");
        assert_eq!(unasked.with(64)?, "");
        let (code, screen) = run_on_terminal(forced(), "[yes/no] ", || Some("no\n")).await?;
        assert_eq!(code, Some(1), "{screen}");
        assert!(screen.contains("nothing was released"), "{screen}");
        assert!(is_held().await?);

        let (code, screen) = run_on_terminal(forced(), "[yes/no] ", || Some("yes\n")).await?;
        assert_eq!(code, Some(0), "{screen}");
        assert!(screen.contains(&format!("held by ann (nightly), token {}", writer.token())), "{screen}");
        assert!(!is_held().await?);
        let again = run(forced()).await?.with(0)?;
        assert_eq!(again, "`a:writer` is held by nobody\n");

        let mut json = run(plain(&url, "release b:readers --force --yes --json")).await?.json(0)?;
        let json = json.pop().context("no line")?;
        let released = json["released"].as_array().context("nobody")?;
        let mut owners: Vec<_> = released.iter().filter_map(|holder| holder["owner"].as_str()).collect();
        owners.sort_unstable();
        assert_eq!((json["key"].as_str(), owners), (Some("b:readers"), vec!["bea", "cid"]));
    }

    async fn release_by_force_ends_no_other_lease_than_it_asked_about(site: Site) {
        let url = site.fresh().await?;
        let locks = ::doclock::connect(&url).await?;
        let first = locks.lock("k").owner("ann").acquire().await?;
        let (handle, contender) = (Handle::current(), locks.clone());
        let meanwhile = move || {
            handle.block_on(async {
                first.release().await.unwrap();
                contender.lock("k").owner("bea").acquire().await.unwrap().let_expire();
            });
            Some("yes\n")
        };
        let (code, screen) = run_on_terminal(plain(&url, "release k --force"), "[yes/no] ", meanwhile).await?;
        assert_eq!(code, Some(1), "{screen}");
        assert!(screen.contains("`k` changed hands meanwhile"), "{screen}");
        let record = locks.inspect("k").await?.context("no record")?;
        assert_eq!(record.holders[0].owner().map(Owner::as_str), Some("bea"));
    }

    async fn setup_makes_what_locks_need(site: Site) {
        let name = format!("made-{}", LeaseId::random());
        let url = match site {
            Site::MongoDb => mongodb_url(servers::mongodb_url(), &name),
            Site::Dynoxide => dynamodb_url(servers::dynoxide_url(), &name),
            Site::DynamoDbLocal => dynamodb_url(servers::dynamodb_local_url(), &name),
        };
        for _ in 0..2 {
            let made = run(plain(&url, "setup")).await?.with(0)?;
            assert_eq!(made, "ready for locks\n");
        }
        let text = run(plain(&url, "doctor")).await?.with(0)?;
        assert!(text.lines().all(|line| line.starts_with("ok ")), "{text}");
    }
}

/// A page of MongoDB has a hundred.
#[tokio::test]
async fn ls_shows_all_pages() -> Result<()> {
    if servers::without("mongodb") {
        return Ok(());
    }
    let url = Site::MongoDb.fresh().await?;
    let locks = ::doclock::connect(&url).await?;
    let leases = (0..101).map(|n| locks.lock(format!("k:{n:03}")).acquire());
    let _leases = try_join_all(leases).await?;
    let json = run(plain(&url, "ls --json")).await?.json(0)?;
    assert_eq!(json.len(), 101);
    assert_eq!(json[100]["key"], "k:100");
    Ok(())
}

/// What is no lock is never shown as one, and a table that is not there is a matter of configuration.
#[tokio::test]
async fn what_is_amiss_ends_with_its_code() -> Result<()> {
    if servers::without("dynoxide") {
        return Ok(());
    }
    let missing = dynamodb_url(servers::dynoxide_url(), "missing");
    for args in ["ls", "show k", "watch", "release k --force --yes"] {
        let ended = run(plain(&missing, args)).await?;
        assert_eq!(ended.code, Some(78), "{ended:?}");
        assert!(
            ended.stderr.contains("table `missing` does not exist"),
            "{ended:?}"
        );
    }
    Ok(())
}

#[tokio::test]
async fn packagers_get_completions_and_manuals() -> Result<()> {
    let printed = async |args: &str| run(plain("", args)).await?.with(0);
    for shell in ["bash", "zsh", "fish"] {
        let script = printed(&format!("completions {shell}")).await?;
        let is_whole = script.contains("doctor") && script.contains("force");
        assert!(is_whole && !script.contains("guard"), "{shell}: {script}");
    }
    assert!(printed("man").await?.contains(".TH doclock 1"));
    assert!(printed("man doctor").await?.contains("doclock doctor"));
    let unknown = run(plain("", "man unknown")).await?;
    assert_eq!(unknown.code, Some(64), "{unknown:?}");
    Ok(())
}
