//! Renewing many leases by batches of statements.

use doclock::{Backend, ErrorKind, Mode, RenewOutcome, RenewRequest};

use super::*;
use crate::support::proxy::Proxy;
use crate::support::raw::http_reply;
use crate::support::renewals::seqs;
use crate::support::servers;
use crate::support::wire::Wire;

const MANY: usize = 60;

/// Leases on as many keys, and a renewal of each.
async fn many(backend: &DynamoBackend) -> Result<Vec<RenewRequest>> {
    let mut renewals = Vec::new();
    for n in 0..MANY {
        let mode = [Mode::Exclusive, Mode::Shared, Mode::Permit { limit: 2 }][n % 3];
        let request = request(&format!("k{n}"), mode)?;
        let grant = granted(backend, &request).await?;
        let mut renewal = RenewRequest::new(&request, grant.token, 2);
        renewal.timeout = Duration::from_secs(30);
        renewals.push(renewal);
    }
    Ok(renewals)
}

on_both! {
    async fn all_that_is_due_is_a_request_for_25(server: Server) {
        let (backend, _) = server.backend().await?;
        let renewals = many(&backend).await?;
        let (sent, outcomes) = server.count(backend.renew_many(&renewals)).await;
        assert_eq!(sent, MANY.div_ceil(25));
        for (renewal, outcome) in renewals.iter().zip(outcomes) {
            let RenewOutcome::Renewed(validity) = outcome? else { bail!("lost") };
            assert_eq!(validity.seq, 2);
            assert!(!validity.valid_for.is_zero() && validity.valid_for <= renewal.ttl.as_duration());
            let record = record(&backend, &renewal.key).await?;
            assert_eq!((record.holders[0].seq, record.rev), (2, 2));
            let purge = record.holders[0].expires_at.as_millis() + 48 * 3_600_000;
            assert_eq!(record.purge_at.unwrap().as_millis(), (purge + 999) / 1000 * 1000);
        }
    }

    async fn one_that_is_lost_costs_no_other(server: Server) {
        let (backend, _) = server.backend().await?;
        let renewals = many(&backend).await?;
        backend.force_release(&renewals[41].key).await?;
        let mut wanted = [Ok(Some(2)); MANY];
        wanted[41] = Ok(None);
        let (sent, seqs) = server.count(seqs(&backend, &renewals)).await;
        assert_eq!((sent, seqs), (4, wanted.to_vec()));
    }

    /// Many share the text of their statements: only those that say the same.
    async fn each_says_what_its_own_request_does(server: Server) {
        let (backend, table) = server.backend().await?;
        let mut renewals = many(&backend).await?;
        renewals.truncate(6);
        // Only a sharer may have another token than the record's.
        granted(&backend, &request("k1", Mode::Shared)?).await?;
        for (n, renewal) in renewals.iter_mut().enumerate() {
            renewal.restamp = n > 2;
            let mut item = server.item(&table, renewal.key.as_str()).await?.context("no item")?;
            let Some(AttributeValue::M(holders)) = item.get_mut("holders") else { bail!("no map") };
            for holder in holders.values_mut() {
                let AttributeValue::M(holder) = holder else { bail!("no map") };
                holder.insert("acquired_at".to_owned(), number(1));
            }
            server.put(&table, item).await?;
        }
        let (sent, seqs) = server.count(seqs(&backend, &renewals)).await;
        assert_eq!((sent, seqs), (1, vec![Ok(Some(2)); 6]));
        for renewal in &renewals {
            let record = record(&backend, &renewal.key).await?;
            let holder = record.holder(&renewal.id).context("lost")?;
            assert_eq!(holder.acquired_at.as_millis() > 1, renewal.restamp);
        }
    }

    /// A pinned record is kept for ever, which a statement cannot say; nor can a later attempt stand behind an earlier.
    async fn what_a_statement_refuses_is_renewed_by_itself(server: Server) {
        let (backend, table) = server.backend().await?;
        let mut renewals = many(&backend).await?;
        renewals.truncate(3);
        let mut item = server.item(&table, "k0").await?.context("no item")?;
        item.insert("pinned".to_owned(), number(253_402_300_799_u64));
        server.put(&table, item).await?;
        let mut later = renewals[1].clone();
        later.seq = 9;
        backend.renew(&later).await?;
        let (sent, seqs) = server.count(seqs(&backend, &renewals)).await;
        assert_eq!((sent, seqs), (3, vec![Ok(Some(2)), Ok(Some(9)), Ok(Some(2))]));
        let pinned = record(&backend, &renewals[0].key).await?;
        assert_eq!(pinned.purge_at, pinned.pinned);
    }
}

/// A backend whose next requests go through a proxy, and renewals on a table of its own.
async fn through() -> Result<(Proxy, DynamoBackend, Vec<RenewRequest>)> {
    let url = servers::dynoxide_url();
    let (backend, table) = Server::at(url).backend().await?;
    let renewals = many(&backend).await?;
    let proxy = Proxy::start(servers::addr_of(url)?, Wire::Http).await?;
    let backend = Server::at(&proxy.http_url()).cold(&table);
    // It learns the time, as whoever was granted a lease has.
    backend.inspect(&renewals[0].key).await?;
    Ok((proxy, backend, renewals))
}

fn answer(name: &str) -> Vec<u8> {
    let body = format!(r#"{{"__type":"{name}","message":"as the test wants it"}}"#);
    http_reply(
        "400 Bad Request",
        &[("x-amzn-RequestId", "0123456789ABCDEF")],
        &body,
    )
}

const BATCH: &str = "BatchExecuteStatement";

#[tokio::test]
async fn a_batch_that_is_throttled_is_no_other() -> Result<()> {
    if servers::without("dynoxide") {
        return Ok(());
    }
    let (proxy, backend, renewals) = through().await?;
    proxy.answer_instead(
        BATCH,
        1,
        answer("com.amazonaws.dynamodb.v20120810#ThrottlingException"),
    );
    let seqs = seqs(&backend, &renewals).await;
    let throttled = seqs
        .iter()
        .filter(|seq| **seq == Err(ErrorKind::Throttled))
        .count();
    let renewed = seqs.iter().filter(|seq| **seq == Ok(Some(2))).count();
    assert!(throttled == 25 || throttled == 10, "{seqs:?}");
    assert_eq!(throttled + renewed, MANY);
    assert_eq!(
        (proxy.requests(BATCH), proxy.requests("UpdateItem")),
        (3, 0)
    );
    Ok(())
}

/// A statement's own error is its lease's.
#[tokio::test]
async fn a_statement_that_is_throttled_is_no_other() -> Result<()> {
    if servers::without("dynoxide") {
        return Ok(());
    }
    let (proxy, backend, mut renewals) = through().await?;
    renewals.truncate(3);
    let body = r#"{"Responses":[{"TableName":"t"},{"Error":{"Code":"ThrottlingError","Message":"m"}},{"TableName":"t"}]}"#;
    proxy.answer_instead(
        BATCH,
        1,
        http_reply("200 OK", &[("x-amzn-RequestId", "0123456789ABCDEF")], body),
    );
    let wanted = [Ok(Some(2)), Err(ErrorKind::Throttled), Ok(Some(2))];
    assert_eq!(seqs(&backend, &renewals).await, wanted);
    assert_eq!(proxy.requests("UpdateItem"), 0);
    Ok(())
}

#[tokio::test]
async fn without_the_right_each_is_renewed_by_itself_for_good() -> Result<()> {
    if servers::without("dynoxide") {
        return Ok(());
    }
    let whole = "com.amazon.coral.service#AccessDeniedException";
    let body =
        r#"{"Responses":[{"Error":{"Code":"AccessDenied"}},{"Error":{"Code":"AccessDenied"}}]}"#;
    let single = http_reply("200 OK", &[("x-amzn-RequestId", "0123456789ABCDEF")], body);
    for refusal in [answer(whole), single] {
        let (proxy, backend, mut renewals) = through().await?;
        renewals.truncate(2);
        proxy.answer_instead(BATCH, usize::MAX, refusal);
        assert_eq!(backend.renewals_at_once(), 25);
        for round in 2..=4 {
            for renewal in &mut renewals {
                renewal.seq = round;
            }
            assert_eq!(seqs(&backend, &renewals).await, [Ok(Some(round)); 2]);
        }
        assert_eq!(
            (proxy.requests(BATCH), proxy.requests("UpdateItem")),
            (1, 6)
        );
        assert_eq!(backend.clone().renewals_at_once(), 1);
    }
    Ok(())
}

/// What is wrong with one statement must not be told to all; nor is an answer that is too short anybody's loss.
#[tokio::test]
async fn a_batch_that_is_refused_or_half_answered_is_taken_apart() -> Result<()> {
    if servers::without("dynoxide") {
        return Ok(());
    }
    let refused = answer("com.amazon.coral.validate#ValidationException");
    let body = r#"{"Responses":[{"TableName":"t"}]}"#;
    let half = http_reply("200 OK", &[("x-amzn-RequestId", "0123456789ABCDEF")], body);
    for (reply, singles) in [(refused, 3), (half, 2)] {
        let (proxy, backend, mut renewals) = through().await?;
        renewals.truncate(3);
        proxy.answer_instead(BATCH, 1, reply);
        assert_eq!(seqs(&backend, &renewals).await, [Ok(Some(2)); 3]);
        assert_eq!(proxy.requests("UpdateItem"), singles);
    }
    Ok(())
}

#[tokio::test]
async fn a_lost_answer_is_unknown_and_may_be_repeated() -> Result<()> {
    if servers::without("dynoxide") {
        return Ok(());
    }
    let (proxy, backend, mut renewals) = through().await?;
    renewals.truncate(3);
    proxy.drop_replies_of(BATCH, 1);
    let unknown = [Err(ErrorKind::OutcomeUnknown); 3];
    assert_eq!(seqs(&backend, &renewals).await, unknown);
    // By themselves they find that they stand already.
    for renewal in &renewals {
        let outcome = backend.renew(renewal).await?;
        assert!(matches!(outcome, RenewOutcome::Renewed(validity) if validity.seq == 2));
    }
    for renewal in &mut renewals {
        renewal.seq = 3;
    }
    assert_eq!(seqs(&backend, &renewals).await, [Ok(Some(3)); 3]);
    Ok(())
}

/// It may take longer than half of it.
#[tokio::test]
async fn a_batch_has_all_the_time_of_its_requests() -> Result<()> {
    if servers::without("dynoxide") {
        return Ok(());
    }
    let (proxy, backend, mut renewals) = through().await?;
    renewals.truncate(3);
    for renewal in &mut renewals {
        renewal.timeout = Duration::from_secs(5);
    }
    proxy.delay(Duration::from_millis(1300));
    assert_eq!(seqs(&backend, &renewals).await, [Ok(Some(2)); 3]);
    Ok(())
}
