//! The pipe by which the guard is told until when the lease is held. Its end is the end of whoever holds the lease.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{OwnedFd, RawFd};
use std::time::Duration;

use nix::fcntl::{FcntlArg, FdFlag, OFlag, fcntl};
use tokio::net::unix::pipe;

/// A deadline on its way, in µs: so short that a pipe takes it as a whole, or not at all.
const WORD: usize = size_of::<u64>();

/// The end that tells.
pub(super) struct Teller(io::PipeWriter);

/// The end that is told.
pub(super) struct Listener(pipe::Receiver);

/// Both ends. The second one is open in whatever is started before it is dropped.
pub(super) fn pair() -> io::Result<(Teller, OwnedFd)> {
    let (listener, teller) = io::pipe()?;
    fcntl(&listener, FcntlArg::F_SETFD(FdFlag::empty()))?;
    fcntl(&teller, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
    Ok((Teller(teller), listener.into()))
}

impl Teller {
    /// Never blocks. One that the guard has no room for is lost: it stands still, and has older ones to read.
    pub(super) fn tell(&self, deadline: Duration) {
        let micros = u64::try_from(deadline.as_micros()).unwrap_or(u64::MAX);
        let _ = (&self.0).write(&micros.to_le_bytes());
    }
}

impl Listener {
    /// The end that this process was started with. Nobody that it starts has it.
    pub(super) fn inherited(number: RawFd) -> io::Result<Self> {
        let file = File::open(format!("/dev/fd/{number}"))?;
        nix::unistd::close(number)?;
        Ok(Self(pipe::Receiver::from_file(file)?))
    }

    /// The last deadline that was told; `None` if nobody is left to tell. Cancel safe.
    pub(super) async fn told(&self) -> io::Result<Option<Duration>> {
        let mut words = [[0; WORD]; 64];
        loop {
            self.0.readable().await?;
            match self.0.try_read(words.as_flattened_mut()) {
                Ok(0) => return Ok(None),
                Ok(bytes) => {
                    let last = (bytes / WORD).saturating_sub(1);
                    let micros = u64::from_le_bytes(words[last]);
                    return Ok(Some(Duration::from_micros(micros)));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
    }
}
