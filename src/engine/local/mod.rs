//! What the local engine runs replicas with: the balancer in front of them, the environment around them, the probe
//! that asks whether they are ready.

pub mod balancer;
pub mod environment;
pub mod probe;
