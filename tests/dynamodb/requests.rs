//! How many requests an operation takes, counted at the wire.

use doclock::{
    AcquireRequest, Backend, Mode, ReleaseOutcome, ReleaseRequest, RenewOutcome, RenewRequest,
};

use super::*;

on_both! {
    /// The first request of a process tells the time; a record is not created without.
    async fn absent_is_two_on_a_cold_start_and_then_one(server: Server) {
        let (_, table) = server.backend().await?;
        let backend = server.cold(&table);
        let first = request("first", Mode::Exclusive)?;
        let (sent, grant) = server.count(granted(&backend, &first)).await;
        assert_eq!(sent, 2);
        assert!(!grant?.validity.refresh);
        let second = request("second", Mode::Exclusive)?;
        let (sent, grant) = server.count(granted(&backend, &second)).await;
        assert_eq!(sent, 1);
        let grant = grant?;
        assert!(!grant.validity.refresh);
        assert_eq!(grant.validity.seq, second.seq);
        assert!(grant.validity.valid_for > Duration::from_secs(9), "{grant:?}");
        assert!(grant.validity.valid_for <= Duration::from_secs(10), "{grant:?}");
        // Shared and permits need the maps to be there.
        for mode in [Mode::Shared, Mode::Permit { limit: 2 }] {
            let (sent, grant) = server.count(granted(&backend, &request(mode_key(mode), mode)?)).await;
            grant?;
            assert_eq!(sent, 2);
        }
    }

    async fn each_plain_operation_is_one(server: Server) {
        let (_, table) = server.backend().await?;
        let warm = server.cold(&table);
        let mine = request("key", Mode::Exclusive)?;
        let grant = granted(&warm, &mine).await?;

        // A process's first request on a key that exists costs nothing more.
        let backend = server.cold(&table);
        let (sent, contention) = server.count(held(&backend, &request("key", Mode::Exclusive)?)).await;
        assert_eq!((sent, contention?.occupants.len()), (1, 1));
        let renewal = RenewRequest::new(&mine, grant.token, 2);
        let (sent, renewed) = server.count(backend.renew(&renewal)).await;
        let RenewOutcome::Renewed(validity) = renewed? else { bail!("lost") };
        assert_eq!((sent, validity.seq, validity.refresh), (1, 2, false));
        let release = ReleaseRequest::new(&mine.key, &mine.owner, &mine.id);
        for expected in [1, 1] {
            let (sent, released) = server.count(backend.release(&release)).await;
            assert_eq!((sent, released?), (expected, ReleaseOutcome::Released));
        }
        let cold = server.cold(&table);
        let (sent, next) = server.count(granted(&cold, &request("key", Mode::Exclusive)?)).await;
        let next = next?;
        assert_eq!((sent, next.token), (1, grant.token + 1));
        assert!(!next.validity.refresh, "{next:?}");
    }

    async fn sharing_is_one(server: Server) {
        let (backend, _) = server.backend().await?;
        for mode in [Mode::Shared, Mode::Permit { limit: 3 }] {
            let mut tokens = vec![granted(&backend, &request(mode_key(mode), mode)?).await?.token];
            for _ in 0..2 {
                let (sent, grant) = server.count(granted(&backend, &request(mode_key(mode), mode)?)).await;
                assert_eq!(sent, 1);
                tokens.push(grant?.token);
            }
            assert!(tokens.is_sorted_by(|a, b| a < b), "{tokens:?}");
        }
        let (sent, full) = server.count(held(&backend, &request("permit", Mode::Permit { limit: 3 })?)).await;
        assert_eq!((sent, full?.occupants.len()), (1, 3));
    }

    async fn evicting_and_taking_over_are_two(server: Server) {
        let (backend, _) = server.backend().await?;
        let mut first = request("key", Mode::Exclusive)?;
        first.ttl = Ttl::new(Duration::from_millis(100))?;
        first.margin = Duration::ZERO;
        let token = granted(&backend, &first).await?.token;
        let mut again = AcquireRequest::new(&first.key, &first.owner, Mode::Exclusive, secs(1));
        again.margin = Duration::ZERO;
        let (sent, grant) = server.count(granted(&backend, &again)).await;
        assert_eq!((sent, grant?.token), (2, token + 1));
        assert_eq!(record(&backend, &first.key).await?.closed, Some(first.id));

        let other = request("key", Mode::Exclusive)?;
        let left = held(&backend, &other).await?.occupants[0].expires_in;
        assert!(left <= Duration::from_secs(5), "{left:?}");
        // What is known of the server's time loosens while nothing is heard of it.
        tokio::time::sleep(left + left / 32 + Duration::from_millis(20)).await;
        let (sent, grant) = server.count(granted(&backend, &other)).await;
        assert_eq!((sent, grant?.token), (2, token + 2));
        let RenewOutcome::Lost = backend.renew(&RenewRequest::new(&again, token + 1, 2)).await? else {
            bail!("an evicted lease was renewed")
        };
    }

    /// A waiter reads, and writes only what is worth it.
    async fn waiting_looks_first(server: Server) {
        let (backend, table) = server.backend().await?;
        let first = request("key", Mode::Exclusive)?;
        granted(&backend, &first).await?;
        let before = server.item(&table, "key").await?;
        let mut waiter = request("key", Mode::Exclusive)?;
        waiter.waiting = true;
        let (sent, contention) = server.count(held(&backend, &waiter)).await;
        assert_eq!((sent, contention?.occupants.len()), (1, 1));
        assert_eq!(server.item(&table, "key").await?, before);
        backend.release(&ReleaseRequest::new(&first.key, &first.owner, &first.id)).await?;
        let (sent, grant) = server.count(granted(&backend, &waiter)).await;
        grant?;
        assert_eq!(sent, 2);
    }

    /// A repeated attempt gets the grant of the one whose answer was lost.
    async fn a_grant_is_recognised(server: Server) {
        let (backend, _) = server.backend().await?;
        for mode in [Mode::Exclusive, Mode::Shared] {
            let mut mine = request(mode_key(mode), mode)?;
            let first = granted(&backend, &mine).await?;
            mine.seq = 2;
            mine.waiting = mode == Mode::Exclusive;
            let again = granted(&backend, &mine).await?;
            let bump = u64::from(mode != Mode::Exclusive);
            assert_eq!((again.token, again.validity.seq), (first.token + bump, 1));
            assert!(again.validity.valid_for <= mine.ttl.as_duration());
            assert_eq!(record(&backend, &mine.key).await?.holders.len(), 1);
        }
    }

    /// What a renewal asks for is never less than what stands there.
    async fn a_renewal_never_lowers_the_ttl(server: Server) {
        let (backend, table) = server.backend().await?;
        let mine = request("key", Mode::Exclusive)?;
        let grant = granted(&backend, &mine).await?;
        let mut longer = RenewRequest::new(&mine, grant.token, 5);
        longer.ttl = secs(60);
        backend.renew(&longer).await?;
        let mut shorter = RenewRequest::new(&mine, grant.token, 6);
        shorter.ttl = secs(20);
        let (sent, renewed) = server.count(backend.renew(&shorter)).await;
        let RenewOutcome::Renewed(validity) = renewed? else { bail!("lost") };
        assert_eq!((sent, validity.seq), (2, 6));
        let standing = record(&backend, &mine.key).await?;
        assert_eq!((standing.holders[0].ttl, standing.holders[0].seq), (secs(60), 6));
        // A late duplicate of the earlier one changes nothing and is told of the newer.
        let before = server.item(&table, "key").await?;
        let RenewOutcome::Renewed(validity) = backend.renew(&longer).await? else { bail!("lost") };
        assert_eq!(validity.seq, 6);
        assert_eq!(server.item(&table, "key").await?, before);
    }
}

fn mode_key(mode: Mode) -> &'static str {
    match mode {
        Mode::Exclusive => "exclusive",
        Mode::Shared => "shared",
        _ => "permit",
    }
}
