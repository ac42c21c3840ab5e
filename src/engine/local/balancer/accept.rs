//! Clients' connections: accepted, served, and closed gracefully at the end.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use super::forward::forward;
use super::{Core, Phase, headers, reached};

/// Connections that the kernel keeps until they are accepted; it caps this at its own `somaxconn`.
const BACKLOG: u32 = 4096;

/// Listens on all addresses; an IPv6 address that the machine lacks is left out while another one works.
pub(super) fn listen(addresses: &[SocketAddr]) -> io::Result<Vec<TcpListener>> {
    let mut listeners = Vec::with_capacity(addresses.len());
    let mut missing = None;
    for &address in addresses {
        match listen_on(address) {
            Ok(listener) => listeners.push(listener),
            Err(error) if address.is_ipv6() && lacks_address(&error) => missing = Some((address, error)),
            Err(error) => return Err(cannot_listen(address, &error)),
        }
    }
    match missing {
        _ if !listeners.is_empty() => Ok(listeners),
        Some((address, error)) => Err(cannot_listen(address, &error)),
        None => Err(io::Error::new(io::ErrorKind::InvalidInput, "the balancer was given no address to listen on")),
    }
}

fn listen_on(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv6() { TcpSocket::new_v6() } else { TcpSocket::new_v4() }?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

fn lacks_address(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::AddrNotAvailable | io::ErrorKind::Unsupported)
        || error.raw_os_error() == Some(nix::errno::Errno::EAFNOSUPPORT as i32)
}

fn cannot_listen(address: SocketAddr, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("cannot listen on {address}: {error}"))
}

/// Accepts until the balancer closes.
pub(super) async fn serve(listener: TcpListener, core: Arc<Core>) {
    let mut phase = core.phase.subscribe();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = reached(&mut phase, Phase::Closing) => return,
        };
        match accepted {
            Ok((stream, client)) => drop(tokio::spawn(connection(stream, client, core.clone()))),
            // Out of file descriptors, or the client went away meanwhile: a moment later it can be better.
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
}

async fn connection(stream: TcpStream, client: SocketAddr, core: Arc<Core>) {
    let mut phase = core.phase.subscribe();
    _ = stream.set_nodelay(true);
    let client = headers::client(client.ip());
    core.tally.client_connections.fetch_add(1, Ordering::Relaxed);
    let service = service_fn(|request| {
        let (core, client) = (core.clone(), client.clone());
        async move { Ok::<_, Infallible>(forward(&core, &client, request).await) }
    });
    {
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(core.config.client_idle)
            .serve_connection(TokioIo::new(stream), service)
            .with_upgrades();
        let mut connection = std::pin::pin!(connection);
        // What goes wrong on a client's connection is that client's affair: hyper has answered what can be answered.
        tokio::select! {
            _ = connection.as_mut() => {}
            _ = reached(&mut phase, Phase::Closing) => {
                connection.as_mut().graceful_shutdown();
                tokio::select! {
                    _ = connection.as_mut() => {}
                    _ = reached(&mut phase, Phase::Aborted) => {}
                }
            }
        }
    }
    core.tally.client_connections.fetch_sub(1, Ordering::Relaxed);
}
