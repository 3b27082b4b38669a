//! Stands for the clients: plain HTTP, a connection for each request.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Where the service is.
#[derive(Clone, Copy)]
pub(crate) struct Caller(pub(crate) SocketAddr);

impl Caller {
    /// Asks for a payment: the status, and what the service says.
    pub(crate) async fn pay(self, id: &str, amount: u32) -> Result<(u16, String)> {
        let body = amount.to_string();
        let head = format!(
            "POST /payments HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
             Idempotency-Key: {id}\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        self.send(head + &body).await
    }

    /// Asks how it stands.
    pub(crate) async fn look(self, id: &str) -> Result<(u16, String)> {
        let head =
            format!("GET /payments/{id} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        self.send(head).await
    }

    /// Asks for a payment, and hangs up before the answer.
    pub(crate) async fn hang_up(self, id: &str, amount: u32) -> Result<()> {
        let answer = timeout(Duration::from_millis(50), self.pay(id, amount)).await;
        anyhow::ensure!(answer.is_err(), "it answered too soon");
        Ok(())
    }

    async fn send(self, request: String) -> Result<(u16, String)> {
        let mut stream = TcpStream::connect(self.0).await?;
        stream.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        let (head, body) = answer.split_once("\r\n\r\n").context("half an answer")?;
        let status = head.split(' ').nth(1).context("no status")?;
        Ok((status.parse()?, body.to_owned()))
    }
}
