//! Where one message ends and the next begins, and what it asks for: MongoDB's wire protocol and HTTP/1.1.

use std::io::{self, Error, ErrorKind};

use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt};

/// The protocol between a client and its server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wire {
    Mongo,
    Http,
}

/// One whole message, byte for byte.
#[derive(Debug)]
pub struct Frame {
    pub bytes: Vec<u8>,
    /// What a request asks for: `findAndModify`, `UpdateItem`. Empty for a reply.
    pub operation: String,
    /// MongoDB: what pairs a reply with its request. HTTP has none, because its replies come in order.
    pub tag: Option<u32>,
}

impl Wire {
    /// `None` at the end of the stream.
    pub async fn read_request(
        self,
        stream: &mut (impl AsyncBufRead + Unpin),
    ) -> io::Result<Option<Frame>> {
        let Some(bytes) = self.read(stream).await? else {
            return Ok(None);
        };
        let (operation, tag) = match self {
            Self::Mongo => (mongo_operation(&bytes), int(&bytes, 4)),
            Self::Http => (http_operation(&bytes), None),
        };
        Ok(Some(Frame {
            operation: operation.unwrap_or_default(),
            tag,
            bytes,
        }))
    }

    /// `None` at the end of the stream.
    pub async fn read_reply(
        self,
        stream: &mut (impl AsyncBufRead + Unpin),
    ) -> io::Result<Option<Frame>> {
        let Some(bytes) = self.read(stream).await? else {
            return Ok(None);
        };
        let tag = match self {
            Self::Mongo => int(&bytes, 8),
            Self::Http => None,
        };
        Ok(Some(Frame {
            operation: String::new(),
            tag,
            bytes,
        }))
    }

    /// A canned reply becomes the reply to this request.
    pub fn addressed(self, mut reply: Vec<u8>, tag: Option<u32>) -> Vec<u8> {
        if let (Self::Mongo, Some(tag), Some(field)) = (self, tag, reply.get_mut(8..12)) {
            field.copy_from_slice(&tag.to_le_bytes());
        }
        reply
    }

    async fn read(self, stream: &mut (impl AsyncBufRead + Unpin)) -> io::Result<Option<Vec<u8>>> {
        if stream.fill_buf().await?.is_empty() {
            return Ok(None);
        }
        let (mut bytes, rest) = match self {
            Self::Mongo => {
                let mut length = vec![0; 4];
                stream.read_exact(&mut length).await?;
                let rest = int(&length, 0).and_then(|length| length.checked_sub(4));
                (length, rest.map(|rest| rest as usize))
            }
            Self::Http => {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    if stream.read_until(b'\n', &mut head).await? == 0 {
                        return Err(ErrorKind::UnexpectedEof.into());
                    }
                }
                let rest = content_length(&head);
                (head, rest)
            }
        };
        // MongoDB's own limit of a message is 48 MB.
        let rest = rest
            .filter(|rest| *rest <= 48_000_000)
            .ok_or_else(|| Error::new(ErrorKind::InvalidData, "a frame without a sane length"))?;
        let start = bytes.len();
        bytes.resize(start + rest, 0);
        stream.read_exact(&mut bytes[start..]).await?;
        Ok(Some(bytes))
    }
}

fn int(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..at + 4)?;
    Some(u32::from_le_bytes(bytes.try_into().ok()?))
}

fn text(bytes: &[u8]) -> Option<&str> {
    let end = bytes.iter().position(|byte| *byte == 0)?;
    std::str::from_utf8(&bytes[..end]).ok()
}

/// The name of a command is the first key of its document.
fn mongo_operation(message: &[u8]) -> Option<String> {
    let mut document = match int(message, 12)? {
        // OP_MSG: the document's section need not be the first.
        2013 => {
            let mut section = message.get(20..)?;
            while *section.first()? == 1 {
                section = section.get(1 + int(section, 1)? as usize..)?;
            }
            section.get(1..)?
        }
        // OP_QUERY: drivers still say their first hello in it.
        2004 => {
            let collection = message.get(20..)?;
            collection.get(text(collection)?.len() + 1 + 8..)?
        }
        _ => return None,
    };
    // Four bytes of length, one of type.
    document = document.get(5..)?;
    text(document).map(str::to_owned)
}

/// `UpdateItem` of `X-Amz-Target: DynamoDB_20120810.UpdateItem`, else the request line's method.
fn http_operation(message: &[u8]) -> Option<String> {
    if let Some(target) = header(message, "x-amz-target") {
        return target
            .split_once('.')
            .map(|(_, operation)| operation.to_owned());
    }
    let line = std::str::from_utf8(message.split(|byte| *byte == b' ').next()?).ok()?;
    Some(line.to_owned())
}

/// No header means no body. A chunked body is `None`: neither the SDK nor the emulators send one.
fn content_length(head: &[u8]) -> Option<usize> {
    if header(head, "transfer-encoding").is_some() {
        return None;
    }
    header(head, "content-length").map_or(Some(0), |length| length.parse().ok())
}

fn header<'a>(message: &'a [u8], name: &str) -> Option<&'a str> {
    message
        .split(|byte| *byte == b'\n')
        .take_while(|line| *line != b"\r")
        .filter_map(|line| std::str::from_utf8(line).ok()?.split_once(':'))
        .find(|(field, _)| field.eq_ignore_ascii_case(name))
        .map(|(_, value)| value.trim())
}
