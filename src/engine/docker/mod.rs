//! The Docker engine: containers, through the Engine API of Docker or Podman.
//!
//! [`connect`] finds the engine and says why it does not answer; [`client_config`] reads what the docker CLI was told.

pub mod client_config;
pub mod connect;
