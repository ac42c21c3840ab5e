//! The supervisor's socket: one request, one reply, per connection.

use std::sync::Arc;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};

use super::super::protocol::Reply;
use super::fleet::Fleet;

/// Answers until the listener fails. A request goes on to its end even when the command that made it is gone.
pub async fn serve(listener: UnixListener, fleet: Arc<Fleet>) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                tokio::spawn(answer(stream, fleet.clone()));
            }
            Err(error) => {
                eprintln!("the socket does not accept: {error}");
                // Out of files, mostly: others close some.
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            }
        }
    }
}

async fn answer(stream: UnixStream, fleet: Arc<Fleet>) {
    let (read, mut write) = stream.into_split();
    let mut line = String::new();
    if BufReader::new(read).read_line(&mut line).await.is_err() || line.is_empty() {
        return;
    }
    let reply = match serde_json::from_str(&line) {
        Ok(request) => fleet.handle(request).await,
        Err(error) => Reply::Refused {
            what: format!("the supervisor does not understand the command: {error}"),
            evidence: vec!["it may be of another version of scalectl: `scalectl down`, then `scalectl up`".to_owned()],
            unhealthy: false,
        },
    };
    if let Ok(mut text) = serde_json::to_vec(&reply) {
        text.push(b'\n');
        // The command may be gone.
        let _ = write.write_all(&text).await;
    }
}
