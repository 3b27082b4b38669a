//! What an idempotency record costs, counted at the wire.

use doclock::{Lease, LockClient, Once, Outcome};

use super::*;

type Told = Outcome<u32, String>;

async fn runs(once: Once, value: u32) -> Result<Told> {
    Ok(once.run(async |_: &Lease| Ok(value)).await?)
}

on_both! {
    async fn a_first_run_is_two_requests_and_a_repeated_call_is_one(server: Server) {
        let (_, table) = server.backend().await?;
        let locks = LockClient::new(server.cold(&table));
        let once = |id: &str| locks.once(id).keep(Duration::from_hours(100));
        // The very first request of a process tells the time; no record is created without.
        for (id, first) in [("first", 3), ("second", 2), ("third", 2)] {
            let (sent, ran) = server.count(runs(once(id), 1)).await;
            assert_eq!((sent, ran?), (first, Outcome::Ran(1)), "{id}");
            for _ in 0..2 {
                let (sent, told) = server.count(runs(once(id), 2)).await;
                assert_eq!((sent, told?), (1, Outcome::Repeated(1)), "{id}");
            }
        }
        let cold = LockClient::new(server.cold(&table));
        let (sent, told) = server.count(runs(cold.once("first"), 2)).await;
        assert_eq!((sent, told?), (1, Outcome::Repeated(1)), "by a new process");

        // A run that is repeated costs what the first one did.
        let failed = once("again").run(async |_| Err::<u32, _>("no".to_owned()));
        let (sent, failed) = server.count(failed).await;
        assert_eq!((sent, failed?), (2, Outcome::Failed("no".to_owned())));
        let (sent, ran) = server.count(runs(once("again"), 1)).await;
        assert_eq!((sent, ran?), (2, Outcome::Ran(1)));
        let (sent, status) = server.count(once("again").status::<u32>()).await;
        assert_eq!((sent, status?), (1, Some(doclock::Status::Done(1))));
    }

    /// It needs no more of the clock than the creation of any record does.
    async fn the_one_run_costs_no_read_on_a_record_that_exists(server: Server) {
        let (warm, table) = server.backend().await?;
        let plain = request("key", Mode::Exclusive)?;
        granted(&warm, &plain).await?;
        warm.release(&ending(&plain)).await?;
        let cold = LockClient::new(server.cold(&table));
        let (sent, ran) = server.count(runs(cold.once("key"), 1)).await;
        assert_eq!((sent, ran?), (2, Outcome::Ran(1)));
    }
}
