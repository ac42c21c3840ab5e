//! The thinnest path through this part; it is widened next.
#![allow(missing_docs)]
use crate::error::Failure;
#[derive(Debug, Clone)]
pub struct Endpoint {
    pub address: String,
    pub origin: String,
    pub remote: bool,
}
pub struct Connection {
    pub docker: bollard::Docker,
    pub endpoint: Endpoint,
}
pub fn find() -> Result<Option<Endpoint>, Failure> {
    Ok(std::path::Path::new("/var/run/docker.sock").exists().then(|| Endpoint {
        address: "unix:///var/run/docker.sock".into(),
        origin: "the default socket".into(),
        remote: false,
    }))
}
pub async fn connect(endpoint: &Endpoint) -> Result<Connection, Failure> {
    let docker = bollard::Docker::connect_with_unix_defaults().map_err(|e| Failure::failed(e.to_string()))?;
    let docker = docker.negotiate_version().await.map_err(|e| Failure::failed(e.to_string()))?;
    Ok(Connection { docker, endpoint: endpoint.clone() })
}
