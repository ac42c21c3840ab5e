//! Asks one replica whether it is ready (or alive): one GET on a connection of its own.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Incoming;
use hyper::header::{CONNECTION, HOST, USER_AGENT};
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// How much of an unready replica's answer is kept, in bytes.
pub const EXCERPT: usize = 300;

/// How much of an answer is read for its excerpt: a JSON document may have its reason further back.
const MAX_READ: usize = 16 << 10;

/// What a replica answered. `Display` is a clause for people: `503 Service Unavailable: database: connection refused`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Any 2xx.
    Ready,
    /// It answered, and not with 2xx.
    NotReady {
        /// The answer's status.
        status: StatusCode,
        /// The beginning of its body on one line, at most [`EXCERPT`] bytes.
        excerpt: String,
    },
    /// Nothing listens there (yet, or any more).
    Refused,
    /// No complete answer within the time limit.
    TimedOut(Duration),
    /// It accepts connections but does not speak HTTP, or hung up.
    Broken(String),
}

impl Outcome {
    /// Whether it is ready.
    pub fn is_ready(&self) -> bool {
        *self == Self::Ready
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ready => f.write_str("ready"),
            Self::NotReady { status, excerpt } if excerpt.is_empty() => write!(f, "{status}"),
            Self::NotReady { status, excerpt } => write!(f, "{status}: {excerpt}"),
            Self::Refused => f.write_str("connection refused"),
            Self::TimedOut(limit) => write!(f, "no answer within {}", crate::units::TimeSpan(*limit)),
            Self::Broken(why) => f.write_str(why),
        }
    }
}

/// Asks `GET path` of the replica at `address`; the answer, body included, must be there within `timeout`.
///
/// Redirects are not followed: a readiness check that answers 302 is misconfigured, and says so.
pub async fn check(address: SocketAddr, path: &str, timeout: Duration) -> Outcome {
    tokio::time::timeout(timeout, ask(address, path)).await.unwrap_or(Outcome::TimedOut(timeout))
}

async fn ask(address: SocketAddr, path: &str) -> Outcome {
    let request = Request::get(path)
        .header(HOST, address.to_string())
        .header(USER_AGENT, concat!("scalectl/", env!("CARGO_PKG_VERSION"), " (probe)"))
        .header(CONNECTION, "close")
        .body(Empty::<Bytes>::new());
    let request = match request {
        Ok(request) => request,
        Err(error) => return Outcome::Broken(format!("\"{path}\" is not a path: {error}")),
    };
    let stream = match TcpStream::connect(address).await {
        Ok(stream) => stream,
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => return Outcome::Refused,
        Err(error) => return Outcome::Broken(format!("cannot connect: {error}")),
    };
    match exchange(stream, request).await {
        Ok(response) if response.status().is_success() => Outcome::Ready,
        Ok(response) => Outcome::NotReady { status: response.status(), excerpt: excerpt(response).await },
        Err(error) if error.is_parse() => Outcome::Broken(format!("the answer is not HTTP ({error})")),
        Err(_) => Outcome::Broken("the connection was closed before an answer came".to_owned()),
    }
}

async fn exchange(stream: TcpStream, request: Request<Empty<Bytes>>) -> hyper::Result<Response<Incoming>> {
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    // It ends by itself: with the answer, or when `sender` and the answer's body are dropped at a timeout.
    tokio::spawn(connection);
    sender.send_request(request).await
}

/// The beginning of a body on one line, cut at a character's boundary. What cannot be read is left out.
async fn excerpt(response: Response<Incoming>) -> String {
    let mut body = Limited::new(response.into_body(), MAX_READ);
    let mut bytes = Vec::new();
    while let Some(Ok(frame)) = body.frame().await {
        bytes.extend_from_slice(frame.data_ref().map_or(&[][..], |data| data));
    }
    one_line(&String::from_utf8_lossy(&bytes))
}

/// `text` with each run of white space or control characters as one space, at most [`EXCERPT`] bytes with an ellipsis.
fn one_line(text: &str) -> String {
    let mut line = String::new();
    for word in text.split(|c: char| c.is_whitespace() || c.is_control()).filter(|word| !word.is_empty()) {
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
        if line.len() > EXCERPT {
            break;
        }
    }
    if line.len() > EXCERPT {
        let limit = EXCERPT - '…'.len_utf8();
        let end = (0..=limit).rev().find(|end| line.is_char_boundary(*end)).unwrap_or_default();
        line.truncate(end);
        line.push('…');
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    const PATIENCE: Duration = Duration::from_secs(30);

    /// A replica that answers one request with `answer` as it is, then hangs up; returns what it was asked.
    async fn replica(answer: impl Into<Vec<u8>>) -> (SocketAddr, tokio::task::JoinHandle<String>) {
        let (listener, answer) = (TcpListener::bind(("127.0.0.1", 0)).await.unwrap(), answer.into());
        let address = listener.local_addr().unwrap();
        let asked = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                request.push(stream.read_u8().await.unwrap());
            }
            stream.write_all(&answer).await.unwrap();
            String::from_utf8(request).unwrap()
        });
        (address, asked)
    }

    async fn outcome(answer: &str) -> Outcome {
        check(replica(answer).await.0, "/ready", PATIENCE).await
    }

    #[tokio::test]
    async fn a_ready_replica_is_asked_once_and_hung_up_on() {
        let (address, asked) = replica("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
        assert_eq!(check(address, "/ready?x=1", PATIENCE).await, Outcome::Ready);
        let asked = asked.await.unwrap();
        assert!(asked.starts_with("GET /ready?x=1 HTTP/1.1\r\n"), "{asked}");
        assert!(asked.contains(&format!("host: {address}\r\n")) && asked.contains("connection: close\r\n"), "{asked}");
    }

    #[tokio::test]
    async fn what_an_unready_replica_says_is_kept_on_one_line() {
        let body = "{\n  \"database\": \"connection refused\"\n}";
        let answer = format!("HTTP/1.1 503 Service Unavailable\r\ncontent-length: {}\r\n\r\n{body}", body.len());
        let text = "503 Service Unavailable: { \"database\": \"connection refused\" }";
        assert_eq!(outcome(&answer).await.to_string(), text);
        assert_eq!(outcome("HTTP/1.1 302 Found\r\nlocation: /\r\n\r\n").await.to_string(), "302 Found");
    }

    #[tokio::test]
    async fn a_long_answer_is_cut_between_characters() {
        let body = "é".repeat(40_000);
        let Outcome::NotReady { excerpt, .. } = outcome(&format!("HTTP/1.1 500 x\r\n\r\n{body}")).await else {
            panic!()
        };
        assert!(excerpt.len() <= EXCERPT && excerpt.len() > EXCERPT - 4, "{}", excerpt.len());
        assert!(excerpt.ends_with("é…"));
    }

    #[tokio::test]
    async fn what_does_not_answer_says_how() {
        let gone = TcpListener::bind(("127.0.0.1", 0)).await.unwrap().local_addr().unwrap();
        assert_eq!(check(gone, "/ready", PATIENCE).await, Outcome::Refused);
        let silent = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let limit = Duration::from_millis(50);
        let outcome_of_silence = check(silent.local_addr().unwrap(), "/ready", limit).await;
        assert_eq!(outcome_of_silence.to_string(), "no answer within 50ms");
        assert!(outcome("").await.to_string().contains("closed before an answer"));
        assert!(outcome("SSH-2.0-OpenSSH\r\n").await.to_string().contains("not HTTP"));
        assert!(matches!(check(gone, "no path", PATIENCE).await, Outcome::Broken(_)));
    }
}
