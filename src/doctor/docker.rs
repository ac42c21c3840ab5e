//! Whether a Docker API answers, by the plainest request it has.

use std::env;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use http_body_util::Empty;
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::rt::{Read, Write};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;

/// What the Docker API said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DockerAnswer {
    /// There is no socket, and DOCKER_HOST is not set.
    Absent,
    /// It answered.
    Ready {
        /// Its address.
        address: String,
        /// The newest version of the API that it speaks.
        api: String,
    },
    /// The socket is there, and this user may not open it.
    Forbidden {
        /// Its address.
        address: String,
    },
    /// It did not answer as it should.
    Silent {
        /// Its address.
        address: String,
        /// What happened instead.
        reason: String,
    },
}

/// How long an engine may take to answer.
const PATIENCE: Duration = Duration::from_secs(3);

/// Asks the Docker API whether it is there: `GET /_ping`, which every version answers.
pub async fn ask() -> DockerAnswer {
    let Some(address) = address() else { return DockerAnswer::Absent };
    let answer = timeout(PATIENCE, ping(&address)).await;
    let answer = answer.unwrap_or_else(|_| Err(io::Error::other(format!("no answer within {PATIENCE:?}"))));
    match answer {
        Ok(api) => DockerAnswer::Ready { address, api },
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => DockerAnswer::Forbidden { address },
        Err(error) => DockerAnswer::Silent { address, reason: error.to_string() },
    }
}

/// DOCKER_HOST, or the first socket that exists.
fn address() -> Option<String> {
    if let Some(host) = env::var("DOCKER_HOST").ok().filter(|host| !host.is_empty()) {
        return Some(host);
    }
    let mut sockets = vec![PathBuf::from("/var/run/docker.sock")];
    sockets.extend(env::var_os("XDG_RUNTIME_DIR").map(|folder| Path::new(&folder).join("docker.sock")));
    sockets.extend(env::home_dir().map(|home| home.join(".docker/run/docker.sock")));
    sockets.into_iter().find(|socket| socket.exists()).map(|socket| format!("unix://{}", socket.display()))
}

async fn ping(address: &str) -> io::Result<String> {
    if let Some(path) = address.strip_prefix("unix://") {
        return request(TokioIo::new(UnixStream::connect(path).await?)).await;
    }
    if let Some(host) = address.strip_prefix("tcp://") {
        return request(TokioIo::new(TcpStream::connect(host).await?)).await;
    }
    Err(io::Error::other("only unix:// and tcp:// addresses can be checked"))
}

async fn request<C: Read + Write + Unpin + Send + 'static>(connection: C) -> io::Result<String> {
    let (mut sender, driver) = http1::handshake(connection).await.map_err(io::Error::other)?;
    let driver = tokio::spawn(driver);
    let request = hyper::Request::get("/_ping")
        .header(hyper::header::HOST, "docker")
        .body(Empty::<Bytes>::new())
        .map_err(io::Error::other)?;
    let response = sender.send_request(request).await.map_err(io::Error::other)?;
    driver.abort();
    if !response.status().is_success() {
        return Err(io::Error::other(format!("it answered {}", response.status())));
    }
    let version = response.headers().get("api-version").and_then(|value| value.to_str().ok());
    version.map(str::to_owned).ok_or_else(|| io::Error::other("what answered is no Docker API"))
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::UnixListener;

    use super::*;

    async fn answered(reply: &'static str) -> io::Result<String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s");
        let listener = UnixListener::bind(&path).unwrap();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 512];
            let length = stream.read(&mut request).await.unwrap();
            assert!(request[..length].starts_with(b"GET /_ping HTTP/1.1\r\n"));
            stream.write_all(reply.as_bytes()).await.unwrap();
        });
        ping(&format!("unix://{}", path.display())).await
    }

    #[tokio::test]
    async fn an_engine_is_known_by_its_version_header() {
        let reply = "HTTP/1.1 200 OK\r\nApi-Version: 1.41\r\nContent-Length: 2\r\n\r\nOK";
        assert_eq!(answered(reply).await.unwrap(), "1.41");
        let other = answered("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await.unwrap_err();
        assert_eq!(other.to_string(), "what answered is no Docker API");
        let broken = answered("HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n").await.unwrap_err();
        assert!(broken.to_string().contains("500"), "{broken}");
    }

    #[tokio::test]
    async fn a_missing_socket_is_an_error() {
        assert!(ping("unix:///nowhere/docker.sock").await.is_err());
        assert!(ping("ssh://host").await.unwrap_err().to_string().contains("only unix://"));
    }
}
