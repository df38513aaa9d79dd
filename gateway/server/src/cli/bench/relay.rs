//! The floor: a relay of bytes between sockets, as plain as tokio makes it.

use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::ExitCode;

use clap::Args;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};

/// Relays TCP connections, for `bench`.
#[derive(Debug, Args)]
pub struct RelayArgs {
    /// Where to.
    #[arg(long)]
    to: SocketAddr,
}

/// Runs until it is killed. Prints the port that it listens on.
pub async fn run(args: RelayArgs) -> ExitCode {
    let Ok(listener) = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await else { return ExitCode::FAILURE };
    let Ok(address) = listener.local_addr() else { return ExitCode::FAILURE };
    let _ = writeln!(std::io::stdout(), "{}", address.port());
    relay_all(listener, args.to).await;
    ExitCode::FAILURE
}

/// Relays until the listener fails.
pub(super) async fn relay_all(listener: TcpListener, to: SocketAddr) {
    while let Ok((near, _)) = listener.accept().await {
        // Ends with either socket; the process is killed when the bench is over.
        tokio::spawn(relay(near, to));
    }
}

async fn relay(mut near: TcpStream, to: SocketAddr) -> std::io::Result<()> {
    let mut far = TcpStream::connect(to).await?;
    near.set_nodelay(true)?;
    far.set_nodelay(true)?;
    copy_bidirectional(&mut near, &mut far).await?;
    Ok(())
}
