//! Something on the way drops what the backend would like to have: the `Date`, the item of a refusal.

use doclock::{
    Backend, ErrorKind, Mode, ReleaseOutcome, ReleaseRequest, RenewOutcome, RenewRequest, Slot,
    SlotStart,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::*;

on_both! {
    /// The wall clock, give or take what it may be wrong by, judges; and nothing is created.
    async fn without_a_date(server: Server) {
        let (sane, table) = server.backend().await?;
        let mut dead = request("key", Mode::Exclusive)?;
        dead.ttl = Ttl::new(Duration::from_millis(100))?;
        granted(&sane, &dead).await?;
        let wide = DynamoBackend::new(behind(&server, drop_dates).await?, &table);
        let narrow = wide.clone().max_clock_skew(Duration::from_secs(1));

        let error = wide.acquire(&request("new", Mode::Exclusive)?).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        assert!(error.to_string().contains("`Date`"), "{error}");
        assert_eq!(server.item(&table, "new").await?, None);
        for key in ["new", "key"] {
            let mut run = request(key, Mode::Exclusive)?;
            run.slot = Some(Slot::new(SlotStart::Every(Duration::from_hours(1))));
            let error = wide.acquire(&run).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Unsupported);
            assert!(error.to_string().contains("slot"), "{error}");
        }

        tokio::time::sleep(Duration::from_secs(5)).await;
        held(&wide, &request("key", Mode::Exclusive)?).await?;
        let heir = request("key", Mode::Exclusive)?;
        let grant = granted(&narrow, &heir).await?;
        assert!(!grant.validity.refresh, "{grant:?}");
        let RenewOutcome::Renewed(_) = narrow.renew(&RenewRequest::new(&heir, grant.token, 2)).await? else {
            bail!("lost")
        };
        held(&sane, &request("key", Mode::Exclusive)?).await?;
    }

    /// What a refusal does not show is read.
    async fn without_the_refused_item(server: Server) {
        let (sane, table) = server.backend().await?;
        let mine = request("key", Mode::Exclusive)?;
        let token = granted(&sane, &mine).await?.token;
        let backend = DynamoBackend::new(behind(&server, drop_refused_items).await?, &table);
        for expected in [3, 2] {
            let (sent, contention) = server.count(held(&backend, &request("key", Mode::Exclusive)?)).await;
            assert_eq!((sent, contention?.occupants.len()), (expected, 1));
        }
        let other = request("key", Mode::Exclusive)?;
        let renewal = RenewRequest::new(&other, token, 2);
        assert_eq!(backend.renew(&renewal).await?, RenewOutcome::Lost);
        let release = ReleaseRequest::new(&other.key, &other.owner, &other.id);
        assert_eq!(backend.release(&release).await?, ReleaseOutcome::NotHeld);
        assert_eq!(record(&sane, &mine.key).await?.token, token);
    }
}

/// A connection that breaks after the request says nothing of what became of it; one that never was says all.
#[tokio::test]
async fn a_broken_connection_is_an_unknown_outcome() -> Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let server = Server::at(&format!("http://{}", listener.local_addr()?));
    tokio::spawn(async move {
        while let Ok((mut connection, _)) = listener.accept().await {
            let _ = connection.read(&mut [0; 8 * 1024]).await;
        }
    });
    let mine = request("key", Mode::Exclusive)?;
    let backend = server.cold("locks");
    let error = backend.acquire(&mine).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::OutcomeUnknown, "{error:?}");
    let mut release = ReleaseRequest::new(&mine.key, &mine.owner, &mine.id);
    // A machine that has not been told the time asks for it before it writes.
    let error = backend.release(&release).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:?}");
    release.queued = true;
    let error = backend.release(&release).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::OutcomeUnknown, "{error:?}");
    let error = backend.inspect(&mine.key).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:?}");

    let nobody = aws_sdk_dynamodb::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("eu-west-1"))
        .endpoint_url("http://127.0.0.1:1");
    let backend = DynamoBackend::new(Client::from_conf(nobody.build()), "locks");
    let error = backend.acquire(&mine).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:?}");
    assert!(error.to_string().contains("credentials"), "{error}");
    Ok(())
}

fn drop_dates(response: &mut [u8]) {
    for name in [b"Date: ", b"date: "] {
        overwrite(response, name, b"Dxte: ");
    }
}

fn drop_refused_items(response: &mut [u8]) {
    let refusal = b"ConditionalCheckFailed";
    if response
        .windows(refusal.len())
        .any(|window| window == refusal)
    {
        overwrite(response, b"\"Item\"", b"\"Xtem\"");
    }
}

fn overwrite(response: &mut [u8], what: &[u8], by: &[u8]) {
    let found = response
        .windows(what.len())
        .position(|window| window == what);
    if let Some(at) = found {
        response[at..at + what.len()].copy_from_slice(by);
    }
}

/// A client whose responses pass through somebody's hands.
async fn behind(server: &Server, meddle: fn(&mut [u8])) -> Result<Client> {
    let upstream = server.address.clone();
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}", listener.local_addr()?);
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let upstream = TcpStream::connect(&upstream).await?;
            tokio::spawn(pass(client, upstream, meddle));
        }
        Ok::<_, std::io::Error>(())
    });
    let config = server.client.config().to_builder().endpoint_url(url);
    Ok(Client::from_conf(config.build()))
}

async fn pass(client: TcpStream, server: TcpStream, meddle: fn(&mut [u8])) -> std::io::Result<()> {
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    tokio::spawn(async move { tokio::io::copy(&mut from_client, &mut to_server).await });
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let length = from_server.read(&mut buffer).await?;
        if length == 0 {
            return Ok(());
        }
        meddle(&mut buffer[..length]);
        to_client.write_all(&buffer[..length]).await?;
    }
}
