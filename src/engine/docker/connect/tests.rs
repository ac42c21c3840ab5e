use std::fs;
use std::path::Path;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UnixListener};

use super::*;

fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
    pairs.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
}

fn at(address: &str) -> Endpoint {
    Endpoint::new(address, "DOCKER_HOST", None).unwrap()
}

fn socket(path: &Path) -> Endpoint {
    at(&format!("unix://{}", path.display()))
}

#[test]
fn an_engine_is_known_by_the_headers_of_its_ping() {
    let docker = pong(&headers(&[("Api-Version", "1.41")])).unwrap();
    assert_eq!(docker, Pong { api: (1, 41), buildkit: false, podman: false });
    let newest = pong(&headers(&[("Api-Version", "2.0"), ("Builder-Version", "2")])).unwrap();
    assert_eq!(newest.api, (API_DEFAULT_VERSION.major_version, API_DEFAULT_VERSION.minor_version));
    assert!(newest.buildkit);
    assert!(pong(&headers(&[("Api-Version", "1.41"), ("Libpod-Api-Version", "4.3.1")])).unwrap().podman);
    assert_eq!(pong(&headers(&[("Server", "nginx")])), None);
}

#[test]
fn requests_name_the_version() {
    let uri = "unix://2f76/containers/json?all=true".parse().unwrap();
    assert_eq!(versioned(&uri, (1, 41)).unwrap().to_string(), "unix://2f76/v1.41/containers/json?all=true");
}

/// What is said about a server that answers every request so.
async fn said_about(reply: &'static str) -> Failure {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("tcp://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = [0; 512];
        let length = stream.read(&mut request).await.unwrap();
        assert!(request[..length].starts_with(b"GET /_ping HTTP/1.1\r\n"));
        stream.write_all(reply.as_bytes()).await.unwrap();
    });
    connect(&at(&address)).await.unwrap_err()
}

#[tokio::test]
async fn what_is_no_engine_is_said_to_be_none() {
    let other = said_about("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
    assert!(other.what().ends_with("(DOCKER_HOST) is no Docker API"), "{other}");
    let broken = said_about("HTTP/1.1 500 Oops\r\nContent-Length: 5\r\n\r\nwrong").await;
    assert!(broken.what().ends_with("answered 500 Internal Server Error to a ping"), "{broken}");
    assert_eq!(broken.evidence(), ["wrong"]);
    let nonsense = said_about("220 mail ready\r\n").await;
    assert!(nonsense.what().ends_with("cannot be reached"), "{nonsense}");
    let old = said_about("HTTP/1.1 200 OK\r\nApi-Version: 1.24\r\nContent-Length: 0\r\n\r\n").await;
    assert!(old.what().ends_with("is too old"), "{old}");
}

#[tokio::test]
async fn plain_http_to_a_tls_port_is_told_apart() {
    let reply = "HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n";
    let failure = said_about(reply).await;
    assert!(failure.what().ends_with("wants TLS, and the connection has none"), "{failure}");
}

#[tokio::test]
async fn an_engine_that_does_not_run_is_told_from_one_that_is_not_there() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("docker.sock");
    let absent = connect(&socket(&path)).await.unwrap_err();
    assert!(absent.what().ends_with("is not there"), "{absent}");
    drop(UnixListener::bind(&path).unwrap());
    let stopped = connect(&socket(&path)).await.unwrap_err();
    assert!(stopped.what().ends_with("is not running"), "{stopped}");
    assert_eq!(stopped.evidence(), ["the socket is there, and nobody listens on it"]);
}

#[tokio::test]
async fn a_refused_port_and_an_unknown_host_are_told_apart() {
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let refused = connect(&at(&format!("tcp://{free}"))).await.unwrap_err();
    assert!(refused.what().ends_with("is not running"), "{refused}");
    let unknown = connect(&at("tcp://engine.invalid:2375")).await.unwrap_err();
    assert!(unknown.what().ends_with("has a host name that cannot be resolved"), "{unknown}");
}

#[tokio::test]
async fn patience_has_an_end() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = at(&format!("tcp://{}", listener.local_addr().unwrap()));
    let silent = connect_within(Duration::from_secs(1), ANSWER, &endpoint).await.unwrap_err();
    assert_eq!(silent.evidence(), ["no answer within 1 s"]);
}

/// Answers a ping and the question for the version, and nothing else.
async fn hang(listener: TcpListener) {
    let mut silent = Vec::new();
    while let Ok((mut stream, _)) = listener.accept().await {
        let mut request = vec![0; 4096];
        let length = stream.read(&mut request).await.unwrap();
        let request = String::from_utf8_lossy(&request[..length]);
        if request.contains("_ping") || request.contains("/version") {
            let head = "HTTP/1.1 200 OK\r\nApi-Version: 1.41\r\nConnection: close\r\nContent-Length: 2\r\n\r\n";
            stream.write_all(format!("{head}{{}}").as_bytes()).await.unwrap();
        } else {
            silent.push(stream);
        }
    }
}

#[tokio::test]
async fn an_engine_that_hangs_is_not_waited_for_for_ever() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = at(&format!("tcp://{}", listener.local_addr().unwrap()));
    tokio::spawn(hang(listener));
    let connection = connect_within(PATIENCE, Duration::from_millis(50), &endpoint).await.unwrap();
    let failure = crate::engine::docker::runs(&connection, &"shop".parse().unwrap()).await.unwrap_err();
    assert_eq!(failure.what(), "the Docker engine did not say what runs");
    assert!(failure.evidence()[0].contains("hangs") && failure.hints()[0].starts_with("restart it"), "{failure:?}");
}

#[test]
fn what_may_take_long_is_no_question() {
    let question = |method: &str, path: &str| {
        is_question(&http::Request::builder().method(method).uri(path).body(bollard::body_full(Bytes::new())).unwrap())
    };
    for path in ["/containers/json?all=true", "/containers/a/json", "/networks/b", "/volumes", "/images/c:d/json"] {
        assert!(question("GET", path), "{path}");
    }
    for path in ["/containers/a/logs?follow=true", "/containers/a/stats", "/events", "/containers/a/archive?path=/"] {
        assert!(!question("GET", path), "{path}");
    }
    assert!(!question("POST", "/containers/a/wait") && !question("DELETE", "/networks/b"));
}

#[tokio::test]
async fn unusable_certificates_are_named() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("ca.pem"), "no certificate").unwrap();
    let ca = folder.path().join("ca.pem");
    let tls = Tls { folder: folder.path().to_owned(), ca: Some(ca.clone()), client: None, verify: true };
    let endpoint = Endpoint::new("tcp://127.0.0.1:1", "DOCKER_HOST", Some(tls)).unwrap();
    let failure = connect(&endpoint).await.unwrap_err();
    assert!(failure.what().contains(&ca.display().to_string()) || failure.what().contains("no authority"), "{failure}");
}
