//! Connections that have switched protocols (WebSocket and the like): bytes both ways until one side ends.

use std::sync::Arc;

use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;

use super::body::Exchange;
use super::{Core, Phase, reached};

/// Joins both sides once each has switched. The member counts it as in flight until it ends.
pub(super) fn join(core: &Arc<Core>, client: OnUpgrade, member: OnUpgrade, exchange: Exchange) {
    let mut phase = core.phase.subscribe();
    tokio::spawn(async move {
        let relay = async {
            let (client, member) = tokio::try_join!(client, member)?;
            let (mut client, mut member) = (TokioIo::new(client), TokioIo::new(member));
            // An end by error on either side is how tunnels usually end; there is nobody to tell.
            _ = tokio::io::copy_bidirectional(&mut client, &mut member).await;
            Ok::<_, hyper::Error>(())
        };
        tokio::select! {
            _ = relay => {}
            _ = reached(&mut phase, Phase::Aborted) => {}
        }
        drop(exchange);
    });
}
