//! What it takes to hand an exclusive lock from one acquisition to another of its owner.

use doclock::{Backend, LeaseId, LockClient, Mode, Reason, RenewOutcome, RenewRequest};

use futures_util::future::try_join_all;

use super::*;

/// It lives longer than the last one: how late that one ends rests on what was known of the time.
fn follows(request: &AcquireRequest) -> AcquireRequest {
    let mut next = request.clone();
    next.id = LeaseId::random();
    next.replaces = Some(request.id.clone());
    next.ttl = Ttl::new(request.ttl.as_duration() + Duration::from_mins(1)).expect("a valid ttl");
    next
}

on_both! {
    async fn a_lock_is_handed_on_in_one_request(server: Server) {
        let (backend, _) = server.backend().await?;
        let mut held = request("key", Mode::Exclusive)?;
        let mut last = granted(&backend, &held).await?;
        let waiter = fair("key", Mode::Exclusive)?;
        for waits in [false, true] {
            if waits {
                queued(&backend, &waiter).await?;
            }
            let next = follows(&held);
            let (sent, grant) = server.count(granted(&backend, &next)).await;
            let grant = grant?;
            assert_eq!((sent, grant.token), (1, last.token + 1), "{waits}");
            assert_eq!((grant.validity.seq, grant.validity.refresh), (next.seq, false));
            let left = record(&backend, &next.key).await?;
            assert_eq!((left.mode, left.holders.len()), (Mode::Exclusive, 1), "{left:?}");
            assert!(left.holder(&next.id).is_some(), "{left:?}");
            assert_eq!(left.closed, next.replaces);
            assert_eq!(left.queue.len(), usize::from(waits));
            let late = RenewRequest::new(&held, last.token, 2);
            assert_eq!(backend.renew(&late).await?, RenewOutcome::Lost);
            (held, last) = (next, grant);
        }
    }

    async fn a_process_that_knows_no_time_yet_hands_on(server: Server) {
        let (warm, table) = server.backend().await?;
        let held = request("key", Mode::Exclusive)?;
        let token = granted(&warm, &held).await?.token;
        let cold = server.cold(&table);
        let (sent, grant) = server.count(granted(&cold, &follows(&held))).await;
        assert_eq!((sent, grant?.token), (1, token + 1));
    }

    async fn a_handing_that_is_refused_or_repeated_is_one_request(server: Server) {
        let (backend, table) = server.backend().await?;
        let first = request("key", Mode::Exclusive)?;
        granted(&backend, &first).await?;
        let mut second = follows(&first);
        let grant = granted(&backend, &second).await?;
        let before = server.item(&table, "key").await?;
        second.seq = 2;
        let (sent, again) = server.count(granted(&backend, &second)).await;
        let again = again?;
        assert_eq!((sent, again.token, again.validity.seq), (1, grant.token, 1));
        let (sent, refusal) = server.count(held(&backend, &follows(&first))).await;
        assert_eq!((sent, refusal?.reason), (1, Reason::Replaced));
        assert_eq!(server.item(&table, "key").await?, before);
        // That there is nothing at all is looked at twice.
        server.delete(&table, "key").await?;
        let (sent, refusal) = server.count(held(&backend, &follows(&second))).await;
        assert_eq!((sent, refusal?.reason), (2, Reason::Replaced));
        assert_eq!(server.item(&table, "key").await?, None);
    }

    /// What the server leaves alone is decided by the rules, all the same.
    async fn what_is_not_plain_is_handed_on_in_two_requests(server: Server) {
        let (backend, _) = server.backend().await?;
        let mut first = request("key", Mode::Exclusive)?;
        first.ttl = secs(60);
        granted(&backend, &first).await?;
        let mut shorter = follows(&first);
        shorter.ttl = secs(10);
        let before = record(&backend, &first.key).await?;
        let (sent, grant) = server.count(granted(&backend, &shorter)).await;
        grant?;
        assert_eq!(sent, 2);
        let left = record(&backend, &first.key).await?;
        assert_eq!(left.holders[0].ttl, first.ttl);
        assert!(left.holders[0].expires_at >= before.holders[0].expires_at, "{left:?}");
    }

    /// An end that is later than the new one is not put earlier by the server.
    async fn a_later_end_is_judged_by_the_rules(server: Server) {
        let (backend, table) = server.backend().await?;
        let first = request("key", Mode::Exclusive)?;
        let skewed = server.cold(&table).clock_skew(Duration::from_hours(1));
        granted(&backend, &first).await?;
        let mut second = follows(&first);
        granted(&skewed, &second).await?;
        second = follows(&second);
        let (sent, grant) = server.count(granted(&backend, &second)).await;
        grant?;
        assert_eq!(sent, 2);
    }

    /// Nor is a longer ttl cut, however soon it ends.
    async fn a_longer_ttl_is_judged_by_the_rules(server: Server) {
        let (backend, table) = server.backend().await?;
        let first = request("key", Mode::Exclusive)?;
        granted(&backend, &first).await?;
        let mut item = server.item(&table, "key").await?.context("no item")?;
        let entry = entries(entries(&mut item, "holders"), &entry_key(&first.owner));
        entry.insert("ttl_ms".into(), number(3_600_000));
        server.put(&table, item).await?;
        let next = follows(&first);
        let (sent, grant) = server.count(granted(&backend, &next)).await;
        grant?;
        assert_eq!(sent, 2);
        assert_eq!(record(&backend, &next.key).await?.holders[0].ttl, secs(3600));
    }

    /// A place of the same owner ends with it.
    async fn a_place_of_its_owner_is_left(server: Server) {
        let (backend, _) = server.backend().await?;
        let first = request("key", Mode::Exclusive)?;
        granted(&backend, &first).await?;
        let mut place = fair("key", Mode::Shared)?;
        place.owner = first.owner.clone();
        queued(&backend, &place).await?;
        let next = follows(&first);
        let (sent, grant) = server.count(granted(&backend, &next)).await;
        grant?;
        assert_eq!(sent, 2);
        assert!(record(&backend, &next.key).await?.queue.is_empty());
    }

    /// Tasks of one client that want the same lock.
    async fn a_section_of_many_tasks_is_little_more_than_one_request(server: Server) {
        const TASKS: usize = 16;
        const EACH: usize = 25;
        let (backend, _) = server.backend().await?;
        let client = LockClient::new(backend);
        client.lock("key").acquire().await?.release().await?;
        let task = async || {
            for _ in 0..EACH {
                client.lock("key").acquire().await?.release().await?;
            }
            Ok::<_, doclock::Error>(())
        };
        let tasks = try_join_all((0..TASKS).map(|_| task()));
        let (sent, done) = server.count(tasks).await;
        done?;
        println!("{sent} requests for {} sections", TASKS * EACH);
        assert!(sent <= TASKS * EACH * 13 / 10, "{sent} requests");
    }
}
