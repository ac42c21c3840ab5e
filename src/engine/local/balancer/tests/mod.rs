//! The balancer on real sockets: hyper services behind it, hyper or raw clients before it.

mod members;
mod protocol;
mod retries;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, combinators::BoxBody};
use hyper::body::Incoming;
use hyper::client::conn::http1::SendRequest;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};

use super::{Balancer, Config};

/// Longer than anything here takes, so that a hang is a failure and a busy machine is not.
const PATIENCE: Duration = Duration::from_secs(30);

fn loopback() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

async fn balancer() -> Balancer {
    balancer_with(|_| {}).await
}

async fn balancer_with(change: impl FnOnce(&mut Config)) -> Balancer {
    let mut config = Config::new(vec![loopback()]);
    change(&mut config);
    Balancer::bind(config).await.unwrap()
}

/// Polls until `condition` holds.
async fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let wait = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("never came: {what}"));
}

/// A service: answers with its name, echoes, repeats the headers it got, or waits to be released.
struct Service {
    name: String,
    address: SocketAddr,
    served: Arc<AtomicUsize>,
    connections: Arc<AtomicUsize>,
    /// `/held` answers once it gets a permit.
    gate: Arc<Semaphore>,
    stop: watch::Sender<bool>,
}

impl Service {
    async fn start(name: &str) -> Self {
        let listener = TcpListener::bind(loopback()).await.unwrap();
        let service = Self {
            name: name.to_owned(),
            address: listener.local_addr().unwrap(),
            served: Arc::default(),
            connections: Arc::default(),
            gate: Arc::new(Semaphore::new(0)),
            stop: watch::Sender::new(false),
        };
        let (name, served, gate) = (service.name.clone(), service.served.clone(), service.gate.clone());
        let (connections, mut stopped) = (service.connections.clone(), service.stop.subscribe());
        tokio::spawn(async move {
            loop {
                let stream = tokio::select! {
                    accepted = listener.accept() => accepted.unwrap().0,
                    _ = stopped.wait_for(|stop| *stop) => return,
                };
                connections.fetch_add(1, Ordering::SeqCst);
                let (name, served, gate, connections) =
                    (name.clone(), served.clone(), gate.clone(), connections.clone());
                let mut stopped = stopped.clone();
                tokio::spawn(async move {
                    let handler = service_fn(|request| {
                        served.fetch_add(1, Ordering::SeqCst);
                        handle(name.clone(), gate.clone(), request)
                    });
                    let serve = hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), handler)
                        .with_upgrades();
                    tokio::select! {
                        _ = serve => {}
                        _ = stopped.wait_for(|stop| *stop) => {}
                    }
                    connections.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        service
    }

    fn served(&self) -> usize {
        self.served.load(Ordering::SeqCst)
    }

    fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    /// Ends it as `kill -9` would: connections cut, port refused.
    async fn kill(&self) {
        self.stop.send_replace(true);
        let mut refused = false;
        while !refused {
            refused = TcpStream::connect(self.address).await.is_err();
        }
        let connections = self.connections.clone();
        eventually("its connections are cut", || connections.load(Ordering::SeqCst) == 0).await;
    }
}

type Answer = Response<BoxBody<Bytes, hyper::Error>>;

fn text(text: impl Into<Bytes>) -> Answer {
    Response::new(Full::new(text.into()).map_err(|never| match never {}).boxed())
}

async fn handle(name: String, gate: Arc<Semaphore>, mut request: Request<Incoming>) -> Result<Answer, hyper::Error> {
    match request.uri().path() {
        "/held" => {
            gate.acquire().await.unwrap().forget();
            Ok(text(name))
        }
        "/echo" => Ok(Response::new(request.into_body().boxed())),
        "/headers" => {
            let mut lines = vec![format!("{} {}", request.method(), request.uri())];
            lines.extend(request.headers().iter().map(|(n, v)| format!("{n}: {}", v.to_str().unwrap())));
            let mut answer = text(lines.join("\n"));
            answer.headers_mut().insert("keep-alive", "timeout=9".parse().unwrap());
            answer.headers_mut().insert("connection", "x-internal".parse().unwrap());
            answer.headers_mut().insert("x-internal", "secret".parse().unwrap());
            answer.headers_mut().insert("x-public", "kept".parse().unwrap());
            Ok(answer)
        }
        "/socket" => {
            let upgraded = hyper::upgrade::on(&mut request);
            tokio::spawn(async move {
                let mut io = TokioIo::new(upgraded.await.unwrap());
                let mut buffer = [0; 64];
                while let Ok(n @ 1..) = io.read(&mut buffer).await {
                    io.write_all(&buffer[..n]).await.unwrap();
                }
            });
            let mut answer = text("");
            *answer.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
            answer.headers_mut().insert("connection", "Upgrade".parse().unwrap());
            answer.headers_mut().insert("upgrade", "websocket".parse().unwrap());
            Ok(answer)
        }
        _ => {
            request.into_body().collect().await?;
            Ok(text(name))
        }
    }
}

/// A client that keeps one connection to the balancer.
struct Client(SendRequest<Full<Bytes>>);

impl Client {
    async fn connect(balancer: &Balancer) -> Self {
        let stream = TcpStream::connect(balancer.addresses()[0]).await.unwrap();
        let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection.with_upgrades());
        Self(sender)
    }

    async fn send(&mut self, method: &str, path: &str, body: &str) -> hyper::Result<Response<Incoming>> {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", "shop.test")
            .body(Full::from(body.to_owned()))
            .unwrap();
        self.0.ready().await?;
        self.0.send_request(request).await
    }

    /// Status and body of one exchange.
    async fn ask(&mut self, method: &str, path: &str, body: &str) -> (u16, String) {
        let response = self.send(method, path, body).await.unwrap();
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }
}

/// Writes `request` as it is and reads until the balancer closes the connection.
async fn raw(balancer: &Balancer, request: &str) -> String {
    let mut stream = TcpStream::connect(balancer.addresses()[0]).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer)).await.expect("the connection closes").unwrap();
    String::from_utf8(answer).unwrap()
}
