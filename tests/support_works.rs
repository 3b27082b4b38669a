//! The tests' own tools: a fault that never happens proves nothing.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use mongodb::bson::{Document, doc};
use mongodb::{Client, Collection};
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::time::timeout;

use crate::support::dynamodb_local::DynamoDbLocal;
use crate::support::dynoxide::Dynoxide;
use crate::support::install;
use crate::support::poll;
use crate::support::port::free_port;
use crate::support::process::{Probe, Server, Spec};
use crate::support::proxy::Proxy;
use crate::support::raw::{dynamodb_request, exchange, http_reply};
use crate::support::replica_set::ReplicaSet;
use crate::support::servers::{self, without};
use crate::support::wire::Wire;

const SOON: Duration = Duration::from_secs(10);
const A_WHILE: Duration = Duration::from_millis(300);
const HELPER: &str = "DOCLOCK_TEST_HELPER";

/// A collection seen through a proxy, and past it. No retries: the driver would hide the faults.
async fn mongodb_proxied(
    name: &str,
) -> Result<(Proxy, Collection<Document>, Collection<Document>)> {
    let proxy = Proxy::start(servers::mongodb_primary().await?, Wire::Mongo).await?;
    let url = format!("{}&retryWrites=false&retryReads=false", proxy.mongodb_url());
    let through = Client::with_uri_str(url).await?;
    let past = Client::with_uri_str(servers::mongodb_url()).await?;
    let collection = |client: Client| client.database("support_works").collection(name);
    let (through, past) = (collection(through), collection(past));
    past.drop().await?;
    Ok((proxy, through, past))
}

/// A table seen through a proxy.
async fn dynamodb_proxied(table: &str) -> Result<Proxy> {
    let proxy = Proxy::start(servers::addr_of(servers::dynoxide_url())?, Wire::Http).await?;
    let schema = format!(
        r#"{{"TableName":"{table}","BillingMode":"PAY_PER_REQUEST",
        "AttributeDefinitions":[{{"AttributeName":"pk","AttributeType":"S"}}],
        "KeySchema":[{{"AttributeName":"pk","KeyType":"HASH"}}]}}"#
    );
    send(&proxy, "CreateTable", &schema).await?;
    Ok(proxy)
}

async fn send(proxy: &Proxy, operation: &str, body: &str) -> Result<String> {
    let reply = exchange(Wire::Http, proxy.addr(), &dynamodb_request(operation, body)).await?;
    Ok(String::from_utf8(reply)?)
}

fn put(table: &str, pk: &str) -> String {
    format!(r#"{{"TableName":"{table}","Item":{{"pk":{{"S":"{pk}"}}}}}}"#)
}

async fn items(proxy: &Proxy, table: &str) -> Result<usize> {
    let reply = send(proxy, "Scan", &format!(r#"{{"TableName":"{table}"}}"#)).await?;
    Ok(reply.matches(r#""pk""#).count())
}

#[tokio::test]
async fn a_dropped_reply_leaves_the_write_in_mongodb() -> Result<()> {
    if without("mongodb") {
        return Ok(());
    }
    let (proxy, through, past) = mongodb_proxied("dropped_reply").await?;
    proxy.drop_replies_of("insert", 1);
    ensure!(through.insert_one(doc! { "_id": 1 }).await.is_err());
    ensure!(proxy.faults_left() == 0);
    ensure!(past.count_documents(doc! {}).await? == 1);
    through.insert_one(doc! { "_id": 2 }).await?;
    ensure!(proxy.requests("insert") == 2);
    Ok(())
}

#[tokio::test]
async fn a_dropped_request_never_reaches_mongodb() -> Result<()> {
    if without("mongodb") {
        return Ok(());
    }
    let (proxy, through, past) = mongodb_proxied("dropped_request").await?;
    proxy.drop_requests_of("insert", 1);
    ensure!(through.insert_one(doc! { "_id": 1 }).await.is_err());
    ensure!(past.count_documents(doc! {}).await? == 0);
    Ok(())
}

#[tokio::test]
async fn a_black_hole_delivers_late() -> Result<()> {
    if without("mongodb") {
        return Ok(());
    }
    let (proxy, through, past) = mongodb_proxied("black_hole").await?;
    through.insert_one(doc! { "_id": 0 }).await?;
    proxy.black_hole(true);
    let late = tokio::spawn(async move { through.insert_one(doc! { "_id": 1 }).await });
    poll::until("the insert is on its way", SOON, async || {
        proxy.requests("insert") == 2
    })
    .await?;
    ensure!(past.count_documents(doc! {}).await? == 1);
    ensure!(!late.is_finished());
    proxy.black_hole(false);
    late.await??;
    ensure!(past.count_documents(doc! {}).await? == 2);
    Ok(())
}

#[tokio::test]
async fn a_recorded_request_is_replayed() -> Result<()> {
    if without("mongodb") {
        return Ok(());
    }
    let (proxy, through, past) = mongodb_proxied("replay").await?;
    proxy.record(true);
    through
        .update_one(doc! { "_id": 1 }, doc! { "$inc": { "n": 1 } })
        .upsert(true)
        .await?;
    let recorded = proxy.recorded();
    let update = recorded
        .iter()
        .find(|request| request.operation == "update");
    proxy
        .replay(update.context("no update was recorded")?)
        .await?;
    ensure!(past.count_documents(doc! { "n": 2 }).await? == 1);
    Ok(())
}

#[tokio::test]
async fn a_dropped_reply_leaves_the_write_in_dynamodb() -> Result<()> {
    if without("dynoxide") {
        return Ok(());
    }
    let proxy = dynamodb_proxied("dropped-reply").await?;
    proxy.drop_replies_of("PutItem", 1);
    ensure!(
        send(&proxy, "PutItem", &put("dropped-reply", "a"))
            .await
            .is_err()
    );
    ensure!(items(&proxy, "dropped-reply").await? == 1);
    proxy.cut_replies_of("PutItem", 1);
    ensure!(
        send(&proxy, "PutItem", &put("dropped-reply", "b"))
            .await
            .is_err()
    );
    ensure!(items(&proxy, "dropped-reply").await? == 2);
    proxy.drop_requests_of("PutItem", 1);
    ensure!(
        send(&proxy, "PutItem", &put("dropped-reply", "c"))
            .await
            .is_err()
    );
    ensure!(items(&proxy, "dropped-reply").await? == 2);
    ensure!(proxy.requests("PutItem") == 3 && proxy.faults_left() == 0);
    Ok(())
}

#[tokio::test]
async fn a_canned_reply_answers_instead_of_dynamodb() -> Result<()> {
    if without("dynoxide") {
        return Ok(());
    }
    let proxy = dynamodb_proxied("canned").await?;
    let body =
        r#"{"__type":"com.amazonaws.dynamodb.v20120810#ProvisionedThroughputExceededException"}"#;
    proxy.answer_instead("PutItem", 1, http_reply("400 Bad Request", &[], body));
    let reply = send(&proxy, "PutItem", &put("canned", "a")).await?;
    ensure!(reply.contains("ProvisionedThroughputExceeded"), "{reply}");
    ensure!(items(&proxy, "canned").await? == 0);
    Ok(())
}

#[tokio::test]
async fn a_connection_is_kept_over_canned_and_real_replies() -> Result<()> {
    use tokio::io::{AsyncWriteExt, BufReader};
    if without("dynoxide") {
        return Ok(());
    }
    let proxy = dynamodb_proxied("keep-alive").await?;
    let mut stream = BufReader::new(tokio::net::TcpStream::connect(proxy.addr()).await?);
    proxy.answer_instead(
        "ListTables",
        1,
        http_reply("500 Internal Server Error", &[], "{}"),
    );
    for status in ["500", "200"] {
        stream
            .write_all(&dynamodb_request("ListTables", "{}"))
            .await?;
        let reply = Wire::Http
            .read_reply(&mut stream)
            .await?
            .context("end of stream")?;
        ensure!(
            reply
                .bytes
                .starts_with(format!("HTTP/1.1 {status}").as_bytes())
        );
    }
    // Replies are matched by number, and the canned one did not come from the server.
    proxy.drop_replies_of("ListTables", 1);
    stream
        .write_all(&dynamodb_request("ListTables", "{}"))
        .await?;
    ensure!(Wire::Http.read_reply(&mut stream).await.is_err());
    Ok(())
}

#[tokio::test]
async fn a_delay_counts_each_way() -> Result<()> {
    if without("dynoxide") {
        return Ok(());
    }
    let proxy = dynamodb_proxied("delay").await?;
    proxy.delay(A_WHILE);
    let start = std::time::Instant::now();
    send(&proxy, "ListTables", "{}").await?;
    ensure!(start.elapsed() >= 2 * A_WHILE);
    Ok(())
}

#[tokio::test]
async fn open_connections_are_reset() -> Result<()> {
    if without("dynoxide") {
        return Ok(());
    }
    let proxy = dynamodb_proxied("reset").await?;
    proxy.black_hole_replies(true);
    let list = dynamodb_request("ListTables", "{}");
    let request = exchange(Wire::Http, proxy.addr(), &list);
    let reset = async {
        poll::until("the request is on its way", SOON, async || {
            proxy.requests("ListTables") == 1
        })
        .await?;
        proxy.reset_connections();
        anyhow::Ok(())
    };
    let (reply, reset) = tokio::join!(request, reset);
    reset?;
    ensure!(reply.is_err());
    Ok(())
}

#[tokio::test]
async fn a_replica_set_survives_its_primary() -> Result<()> {
    if without("mongodb") {
        return Ok(());
    }
    let set = ReplicaSet::start(3).await?;
    let first = set.primary().await?;
    set.node(first).kill().await?;
    let second = set.primary().await?;
    ensure!(second != first);
    set.node(first).restart().await?;
    set.healthy().await?;
    set.node(second).pause()?;
    ensure!(set.primary().await? != second);
    set.node(second).resume()?;
    set.healthy().await?;
    let third = set.primary().await?;
    set.node(third).terminate().await?;
    ensure!(set.primary().await? != third);
    Ok(())
}

#[tokio::test]
async fn a_set_with_passwords_refuses_strangers() -> Result<()> {
    if without("mongodb") {
        return Ok(());
    }
    let set = ReplicaSet::start_with_auth().await?;
    let insert = async |url: String| {
        let client = Client::with_uri_str(url).await?;
        let collection = client.database("test").collection::<Document>("test");
        collection.insert_one(doc! {}).await
    };
    insert(set.url()).await?;
    insert(set.node_url(0)).await?;
    ensure!(insert(set.url_as("root", "wrong")).await.is_err());
    Ok(())
}

#[tokio::test]
async fn a_standalone_has_no_replica_set() -> Result<()> {
    if without("mongodb") {
        return Ok(());
    }
    let client = Client::with_uri_str(servers::mongodb_standalone_url()).await?;
    let hello = client
        .database("admin")
        .run_command(doc! { "hello": 1 })
        .await?;
    ensure!(!hello.contains_key("setName"), "{hello}");
    Ok(())
}

#[tokio::test]
async fn a_durable_dynamodb_local_survives_a_kill() -> Result<()> {
    if without("dynamodb-local") {
        return Ok(());
    }
    let server = DynamoDbLocal::start_durable().await?;
    let proxy = Proxy::start(server.addr(), Wire::Http).await?;
    let create = r#"{"TableName":"kept","BillingMode":"PAY_PER_REQUEST","AttributeDefinitions":[{"AttributeName":"pk","AttributeType":"S"}],"KeySchema":[{"AttributeName":"pk","KeyType":"HASH"}]}"#;
    send(&proxy, "CreateTable", create).await?;
    server.server().kill().await?;
    ensure!(send(&proxy, "ListTables", "{}").await.is_err());
    server.server().restart().await?;
    let tables = send(&proxy, "ListTables", "{}").await?;
    ensure!(tables.contains("kept"), "{tables}");
    Ok(())
}

#[tokio::test]
async fn the_shared_dynamodb_local_answers() -> Result<()> {
    if without("dynamodb-local") {
        return Ok(());
    }
    let proxy = Proxy::start(servers::addr_of(servers::dynamodb_local_url())?, Wire::Http).await?;
    let reply = send(&proxy, "ListTables", "{}").await?;
    ensure!(reply.to_ascii_lowercase().contains("\r\ndate: "), "{reply}");
    Ok(())
}

#[tokio::test]
async fn a_proxy_leads_to_another_server() -> Result<()> {
    if without("dynoxide") {
        return Ok(());
    }
    let proxy = dynamodb_proxied("here").await?;
    let tables = send(&proxy, "ListTables", "{}").await?;
    ensure!(tables.contains("here"), "{tables}");
    let another = Dynoxide::start()?;
    proxy.lead_to(servers::addr_of(&another.url())?);
    let tables = send(&proxy, "ListTables", "{}").await?;
    ensure!(!tables.contains("here"), "{tables}");
    Ok(())
}

/// Stands for a database: it starts at once and never ends by itself.
async fn sleeper() -> Result<Server> {
    let spec = Spec {
        name: "sleep".to_owned(),
        port: free_port()?,
        command: vec!["sleep".into(), "1000".into()],
        env: Vec::new(),
        answers: |_| Box::pin(async { true }),
    };
    Server::start(install::home("sleep")?, spec).await
}

fn is_gone(pid: Pid) -> bool {
    kill(pid, None) == Err(Errno::ESRCH)
}

#[tokio::test]
async fn a_server_ends_with_its_handle() -> Result<()> {
    let server = sleeper().await?;
    let (pid, log) = (server.pid()?, server.log());
    ensure!(server.is_running() && log.exists());
    drop(server);
    poll::until("the server is gone", SOON, async || is_gone(pid)).await?;
    poll::until("its folder is gone", SOON, async || !log.exists()).await
}

#[tokio::test]
async fn a_paused_server_ends_with_its_handle() -> Result<()> {
    let server = sleeper().await?;
    let pid = server.pid()?;
    server.pause()?;
    drop(server);
    poll::until("the server is gone", SOON, async || is_gone(pid)).await
}

#[tokio::test]
async fn a_server_ends_when_the_tests_are_killed() -> Result<()> {
    let mut tests = Command::new(std::env::current_exe()?)
        .args([
            "--exact",
            "support_works::a_helper_that_is_killed",
            "--ignored",
            "--nocapture",
        ])
        .env(HELPER, "1")
        .stdout(Stdio::piped())
        .spawn()?;
    let lines = BufReader::new(tests.stdout.take().context("no pipe")?).lines();
    let mut lines = lines.map_while(Result::ok);
    let line = lines.find_map(|line| line.split_once("server ").map(|(_, rest)| rest.to_owned()));
    let line = line.context("the helper told nothing")?;
    let (pid, log) = line.split_once(' ').context("the helper told no log")?;
    let (pid, log) = (Pid::from_raw(pid.parse()?), std::path::PathBuf::from(log));
    ensure!(!is_gone(pid) && log.exists());
    tests.kill()?;
    tests.wait()?;
    poll::until("the server is gone", SOON, async || is_gone(pid)).await?;
    poll::until("its folder is gone", SOON, async || !log.exists()).await
}

#[tokio::test]
#[ignore = "a part of `a_server_ends_when_the_tests_are_killed`"]
async fn a_helper_that_is_killed() -> Result<()> {
    if std::env::var_os(HELPER).is_none() {
        return Ok(());
    }
    let server = sleeper().await?;
    println!("server {} {}", server.pid()?, server.log().display());
    std::future::pending().await
}

#[tokio::test]
async fn a_server_that_cannot_start_shows_its_log() -> Result<()> {
    let command = ["sh", "-c", "echo out of cheese; exit 1"]
        .map(Into::into)
        .to_vec();
    let answers: Probe = |_| Box::pin(async { false });
    let (name, port) = ("cheese".to_owned(), free_port()?);
    let spec = Spec {
        name,
        port,
        command,
        env: Vec::new(),
        answers,
    };
    let started = timeout(SOON, Server::start(install::home("cheese")?, spec)).await?;
    let error = started.err().context("it started")?;
    ensure!(error.to_string().contains("out of cheese"), "{error}");
    Ok(())
}

#[tokio::test]
async fn a_server_takes_signals_and_restarts() -> Result<()> {
    let server = sleeper().await?;
    let pid = server.pid()?;
    server.signal(Signal::SIGSTOP)?;
    server.kill().await?;
    ensure!(is_gone(pid) && !server.is_running() && server.log().exists());
    server.restart().await?;
    ensure!(server.pid()? != pid);
    server.terminate().await
}
