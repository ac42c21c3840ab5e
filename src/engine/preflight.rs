//! What a plan needs of the machine before its first step is done.

use super::model::BalancerId;
use super::plan::{Action, Plan};
use crate::error::Failure;

/// The ports that a plan opens and does not free itself before, with the balancers that will listen on them.
pub fn opened(plan: &Plan) -> impl Iterator<Item = (u16, &BalancerId)> {
    // Only the leftovers of a supervisor hold ports, and nobody knows which.
    let supervised = plan.steps().iter().any(|step| step.action == Action::StartSupervisor);
    let gives_up = move |port: u16| {
        plan.steps().iter().any(|step| match &step.action {
            Action::StopBalancer { port: old, .. } => *old == port,
            Action::EndLeftovers => supervised,
            _ => false,
        })
    };
    plan.steps().iter().filter_map(move |step| match &step.action {
        Action::StartBalancer { balancer, port } if !gives_up(*port) => Some((*port, balancer)),
        _ => None,
    })
}

/// The failure for a port that somebody listens on.
pub fn port_taken(port: u16, balancer: &BalancerId, holder: &str) -> Failure {
    Failure::failed(format!("port {port} is in use by {holder}"))
        .because("nothing was started")
        .hint(format!("end what holds it, or change {} in scalectl.toml", key(balancer)))
}

/// The failure for a port that the system does not let this user open.
pub fn port_refused(port: u16, balancer: &BalancerId, reason: &str) -> Failure {
    Failure::failed(format!("port {port} cannot be opened: {reason}"))
        .because("nothing was started")
        .hint(format!("change {} in scalectl.toml", key(balancer)))
}

/// What names a balancer's port in the stack file.
fn key(balancer: &BalancerId) -> String {
    match balancer {
        BalancerId::Front => "balancer.port".to_owned(),
        BalancerId::Service(name) => format!("services.{name}.port"),
    }
}
