//! Looking at a load while it runs, from outside: figures for Prometheus, conditions that end it.

use std::convert::Infallible;
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use bytes::Bytes;
use http::Response;
use http::header::CONTENT_TYPE;
use http_body_util::Full;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;

use crate::bench::{Lap, Observer, Slo, Snapshot, Started};
use crate::error::Failure;
use crate::report::live_prometheus;

/// The part of the arguments that looks at the load while it runs.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Result")]
pub struct WatchArgs {
    /// Serve the running figures to Prometheus at this address, like 127.0.0.1:9100
    #[arg(long, value_name = "ADDRESS:PORT", conflicts_with = "find_max")]
    pub metrics_listen: Option<SocketAddr>,
    /// Condition that ends the run early, as a missed objective: 'errors>5%', 'p99>2s'; looked at every second once
    /// 100 requests after the warm-up have ended; a rate is that of the time since then; with --find-max it ends a probe;
    /// repeat for more
    #[arg(long, value_name = "CONDITION")]
    pub abort_on: Vec<Slo>,
}

/// An observer whose last snapshot can be asked for over HTTP.
pub struct Watched<'a> {
    inner: &'a mut dyn Observer,
    page: Option<Arc<Mutex<String>>>,
}

impl<'a> Watched<'a> {
    /// Serves at `address`, if there is one, until the program ends.
    ///
    /// # Errors
    ///
    /// Nothing can listen there.
    pub fn new(inner: &'a mut dyn Observer, address: Option<SocketAddr>) -> Result<Self, Failure> {
        let Some(address) = address else { return Ok(Self { inner, page: None }) };
        let refused = |error: std::io::Error| {
            Failure::usage(format!("cannot listen on {address} for --metrics-listen"))
                .because(error.to_string())
                .hint("choose a free port of this machine")
        };
        let listener = TcpListener::bind(address).map_err(refused)?;
        listener.set_nonblocking(true).map_err(refused)?;
        let page = Arc::<Mutex<String>>::default();
        let shown = Arc::clone(&page);
        thread::Builder::new().name("metrics".to_owned()).spawn(move || serve(listener, &shown)).map_err(refused)?;
        Ok(Self { inner, page: Some(page) })
    }
}

fn serve(listener: TcpListener, page: &Arc<Mutex<String>>) {
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else { return };
    runtime.block_on(async {
        let Ok(listener) = tokio::net::TcpListener::from_std(listener) else { return };
        loop {
            let Ok((stream, _)) = listener.accept().await else {
                // No descriptor is left, most likely: others will be given back.
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
                continue;
            };
            let page = Arc::clone(page);
            let answer = service_fn(move |_| {
                let text = page.lock().unwrap_or_else(PoisonError::into_inner).clone();
                let mut response = Response::new(Full::new(Bytes::from(text)));
                let kind = http::HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
                response.headers_mut().insert(CONTENT_TYPE, kind);
                async { Ok::<_, Infallible>(response) }
            });
            // Who goes away in the middle has no interest in the rest.
            tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), answer));
        }
    });
}

impl Observer for Watched<'_> {
    fn is_watching(&self) -> bool {
        self.page.is_some() || self.inner.is_watching()
    }

    fn started(&mut self, run: &Started) {
        self.inner.started(run);
    }

    fn snapshot(&mut self, snapshot: &Snapshot) {
        if self.inner.is_watching() {
            self.inner.snapshot(snapshot);
        }
        if let Some(page) = &self.page {
            let mut text = Vec::new();
            // Writing to memory does not fail.
            let _ = live_prometheus(snapshot, &mut text);
            *page.lock().unwrap_or_else(PoisonError::into_inner) = String::from_utf8_lossy(&text).into_owned();
        }
    }

    fn wants_laps(&self) -> bool {
        self.inner.wants_laps()
    }

    fn lap(&mut self, lap: &Lap) {
        self.inner.lap(lap);
    }

    fn finished(&mut self) {
        self.inner.finished();
    }
}
