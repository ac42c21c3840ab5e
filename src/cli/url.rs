//! `scalectl url`.

use anyhow::Result;

use super::session::{self, Session, block_on};
use super::{Global, status, stdout};
use crate::backing;
use crate::engine::{AnyEngine, BalancerId};
use crate::error::{Exit, Failure};
use crate::units::Name;

/// Arguments of `scalectl url`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Service or backing service; the balancer's unless given
    #[arg(value_name = "NAME")]
    name: Option<Name>,
}

impl Args {
    /// Runs the command.
    ///
    /// # Errors
    ///
    /// When it has no address.
    pub fn run(self, global: &Global) -> Result<Exit> {
        block_on(async move {
            let session = Session::look(global).await?;
            let url = address(&session, self.name.as_ref()).await?;
            if global.json {
                stdout::print_json(&serde_json::json!({ "url": url }))?;
            } else {
                stdout::print(url)?;
            }
            Ok(Exit::Done)
        })
    }
}

/// Where something is reached.
///
/// # Errors
///
/// When there is no such thing, or it has no address now.
pub async fn address(session: &Session<'_>, name: Option<&Name>) -> Result<String> {
    let stack = &session.stack;
    let front = stack.balancer.as_ref().map(|b| &b.service);
    let Some(name) = name.or(front) else {
        return Err(Failure::usage("the stack has no balancer").hint("name a service").into());
    };
    if front == Some(name) {
        let observed = session.observe_up().await?;
        if !observed.balancers.iter().any(|b| b.id == BalancerId::Front) {
            return Err(Failure::failed("the balancer does not run").hint("`scalectl up` starts it").into());
        }
        return Ok(status::front_url(stack).unwrap_or_default());
    }
    if let Some(resolved) = backing::resolve(stack).get(name) {
        return backing_address(session, name, resolved).await;
    }
    if !stack.services.contains_key(name) {
        let known = stack.services.keys().chain(stack.backing.keys()).map(Name::as_str);
        return Err(session::unknown("service or backing service", name.as_str(), known).into());
    }
    let observed = session.observe().await?;
    let inner = observed.balancers.iter().find(|b| b.id == BalancerId::Service(name.clone()));
    let replica = observed.replicas_of(name).into_iter().find_map(|r| r.address.filter(|_| r.ready));
    match (inner, replica) {
        (Some(balancer), _) => Ok(format!("http://127.0.0.1:{}", balancer.port)),
        (None, Some(address)) => Ok(format!("http://{address}")),
        (None, None) => Err(Failure::failed(format!("no replica of {name} is ready"))
            .hint("`scalectl status` says how far they are; `scalectl up` starts them")
            .into()),
    }
}

async fn backing_address(session: &Session<'_>, name: &Name, resolved: &backing::Resolved<'_>) -> Result<String> {
    if let Some(external) = &resolved.external {
        return Ok(external.text.clone());
    }
    let AnyEngine::Local(local) = &session.engine else {
        let observed = session.observe().await?;
        let address = observed.replicas_of(name).into_iter().find_map(|r| r.address);
        let Some(address) = address else {
            let failure = Failure::failed(format!("{name} does not run"));
            return Err(failure.hint("`scalectl up` starts it").into());
        };
        return Ok(backing::address_at(&session.stack, resolved, &address.ip().to_string(), address.port())?
            .map_or_else(|| format!("http://{address}"), |url| url.text));
    };
    let path = match &resolved.entry.substitute {
        backing::Substitute::File { file, .. } => local.places().volume(name).join(file),
        _ => {
            return Err(Failure::failed(format!("{name} has no address on the local engine"))
                .because("each service has its own, in its process")
                .into());
        }
    };
    Ok(resolved.entry.substitute.url(&path).unwrap_or_default())
}
