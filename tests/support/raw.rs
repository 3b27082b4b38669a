//! Both protocols by hand, as much as it takes to ask a server one question: no pool, no retry, no discovery
//! that would hide what one node says just now, and no task that dies with a test's runtime.

use std::fmt::Write;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::time::Duration;

use mongodb::bson::Document;
use tokio::io::{AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::wire::Wire;

/// A paused server accepts connections and never answers.
const PATIENCE: Duration = Duration::from_secs(1);

/// Sends one request on a connection of its own; the whole raw reply comes back.
pub async fn exchange(wire: Wire, server: SocketAddr, request: &[u8]) -> io::Result<Vec<u8>> {
    let mut stream = BufReader::new(TcpStream::connect(server).await?);
    stream.write_all(request).await?;
    let reply = wire.read_reply(&mut stream).await?;
    Ok(reply.ok_or(ErrorKind::UnexpectedEof)?.bytes)
}

/// One command, without authentication, against `admin` unless it names its `$db`. A refusal is an answer, too: see `ok`.
pub async fn mongo_command(server: SocketAddr, mut command: Document) -> io::Result<Document> {
    if !command.contains_key("$db") {
        command.insert("$db", "admin");
    }
    let reply = exchange(Wire::Mongo, server, &mongo_message(&command)?).await?;
    mongo_document(&reply)
}

/// `OP_MSG` with this one document: a request, or a reply that is yet to be addressed.
pub fn mongo_message(document: &Document) -> io::Result<Vec<u8>> {
    let mut body = Vec::new();
    document.to_writer(&mut body).map_err(io::Error::other)?;
    let length = u32::try_from(21 + body.len()).map_err(io::Error::other)?;
    let header = [length, 1, 0, 2013, 0];
    let mut message: Vec<u8> = header
        .iter()
        .flat_map(|field| field.to_le_bytes())
        .collect();
    message.push(0);
    message.extend(body);
    Ok(message)
}

/// The document of an `OP_MSG`.
pub fn mongo_document(message: &[u8]) -> io::Result<Document> {
    let body = message.get(21..).ok_or(ErrorKind::UnexpectedEof)?;
    Document::from_reader(body).map_err(io::Error::other)
}

/// A DynamoDB request. The signature is nonsense: no emulator looks at it.
pub fn dynamodb_request(operation: &str, body: &str) -> Vec<u8> {
    format!(
        "POST / HTTP/1.1\r\nHost: 127.0.0.1\r\n\
         X-Amz-Target: DynamoDB_20120810.{operation}\r\n\
         X-Amz-Date: 20200101T000000Z\r\n\
         Authorization: AWS4-HMAC-SHA256 Credential=test/20200101/us-east-1/dynamodb/aws4_request, \
         SignedHeaders=host;x-amz-date;x-amz-target, Signature=00\r\n\
         Content-Type: application/x-amz-json-1.0\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

/// A reply for [`Proxy::answer_instead`](super::proxy::Proxy::answer_instead): a status line like `400 Bad Request`,
/// headers of your choice, a body like `{"__type":"…#ProvisionedThroughputExceededException"}`.
pub fn http_reply(status: &str, headers: &[(&str, &str)], body: &str) -> Vec<u8> {
    let mut reply = format!("HTTP/1.1 {status}\r\n");
    for (name, value) in headers {
        let _ = write!(reply, "{name}: {value}\r\n");
    }
    let _ = write!(reply, "Content-Length: {}\r\n\r\n{body}", body.len());
    reply.into_bytes()
}

/// Whether a DynamoDB answers here, with anything that is not an error of its own.
pub async fn dynamodb_answers(server: SocketAddr) -> bool {
    let request = dynamodb_request("ListTables", "{}");
    let reply = timeout(PATIENCE, exchange(Wire::Http, server, &request)).await;
    matches!(reply, Ok(Ok(reply)) if reply.starts_with(b"HTTP/1.1 200"))
}

/// What a MongoDB says of itself; `None` if it says nothing within a second.
pub async fn hello(server: SocketAddr) -> Option<Document> {
    let command = mongodb::bson::doc! { "hello": 1 };
    timeout(PATIENCE, mongo_command(server, command))
        .await
        .ok()?
        .ok()
}
