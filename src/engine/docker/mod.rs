//! The Docker engine: the stack in containers, through the Engine's API.

pub mod balancer;
