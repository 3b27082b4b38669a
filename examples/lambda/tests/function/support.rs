//! Of doclock's own tests: the embedded database, and the proxy.

#[path = "../../../../tests/support/dynoxide.rs"]
pub mod dynoxide;
#[path = "../../../../tests/support/poll.rs"]
pub mod poll;
#[path = "../../../../tests/support/port.rs"]
pub mod port;
#[path = "../../../../tests/support/proxy.rs"]
pub mod proxy;
#[path = "../../../../tests/support/raw.rs"]
pub mod raw;
#[path = "../../../../tests/support/relay.rs"]
mod relay;
#[path = "../../../../tests/support/traffic.rs"]
mod traffic;
#[path = "../../../../tests/support/wire.rs"]
pub mod wire;
