//! nginx.conf, from the members and back. Pure.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tera::{Context, Tera};

use crate::engine::ReplicaId;
use crate::engine::docker::labels::replica_host;
use crate::error::Failure;
use crate::units::Name;

/// The image whose nginx understands the configuration.
pub const IMAGE: &str = "nginx:1.30";

/// The folder of the balancer's configuration in its container; a volume, since a root file system that is read-only
/// takes no archive.
pub const CONFIG_FOLDER: &str = "/etc/scalectl";

/// The configuration that nginx reads.
pub const CONFIG_FILE: &str = "/etc/scalectl/nginx.conf";

/// Begins the line that names the members.
const MARKER: &str = "# scalectl members:";

/// Longest time that old workers live, when the stack sets none that nginx could be told.
const LEAST_DRAIN: Duration = Duration::from_millis(1);

const TEMPLATE: &str = include_str!("nginx.conf.tera");

const NO_MEMBER: &str =
    r#"{"type":"about:blank","title":"Service Unavailable","status":503,"detail":"no replica is ready"}"#;

/// What a balancer does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BalancerConfig {
    /// Ports that the balancer listens on in its container: that for clients, and the service's own, which other services
    /// know. One that is named twice counts once.
    pub listen: Vec<u16>,
    /// The service whose replicas are the members.
    pub service: Name,
    /// Port that the members listen on.
    pub port: u16,
    /// The replicas that get requests.
    pub members: Vec<ReplicaId>,
    /// The path at which a member says that it is ready: a new one is asked there, through the balancer.
    #[serde(default)]
    pub check: Option<String>,
    /// How long a request may go on after its member or its configuration has left.
    pub drain: Duration,
}

#[derive(Serialize)]
struct Member {
    id: String,
    /// What nginx knows it by, in 32 characters at most.
    route: String,
    host: String,
}

/// The whole nginx.conf.
///
/// # Errors
///
/// Never for the built-in template, which a test renders.
pub fn render(config: &BalancerConfig) -> Result<String, Failure> {
    let member = |id: &ReplicaId| Member { id: id.to_string(), route: id.slot.to_string(), host: replica_host(id) };
    render_members(config, &sorted(&config.members).iter().map(member).collect::<Vec<_>>())
}

/// The nginx.conf for replicas that one name of the network stands for, however many they are.
///
/// # Errors
///
/// As [`render`].
pub fn render_name(config: &BalancerConfig, host: &str) -> Result<String, Failure> {
    render_members(config, &[Member { id: config.service.to_string(), route: "all".to_owned(), host: host.to_owned() }])
}

fn render_members(config: &BalancerConfig, members: &[Member]) -> Result<String, Failure> {
    let mut listen = config.listen.clone();
    listen.sort_unstable();
    listen.dedup();
    let mut context = Context::new();
    context.insert("members", members);
    context.insert("port", &config.port);
    context.insert("listen", &listen);
    context.insert("drain", &config.drain.max(LEAST_DRAIN).as_millis());
    context.insert("no_member", NO_MEMBER);
    let mut tera = Tera::default();
    tera.autoescape_on(Vec::<&str>::new());
    tera.add_raw_template("nginx.conf", TEMPLATE)
        .and_then(|()| tera.render("nginx.conf", &context))
        .map_err(|error| Failure::failed("the balancer's configuration cannot be rendered").because(error.to_string()))
}

/// Without the order in which they came, so that the same members are the same text.
pub(super) fn sorted(members: &[ReplicaId]) -> Vec<ReplicaId> {
    let mut members = members.to_vec();
    members.sort();
    members.dedup();
    members
}

/// The members that a configuration names; empty for a text that is none of ours.
pub fn members(text: &str) -> Vec<ReplicaId> {
    let line = text.lines().find_map(|line| line.strip_prefix(MARKER)).unwrap_or_default();
    line.split_whitespace().filter_map(replica).collect()
}

fn replica(text: &str) -> Option<ReplicaId> {
    let (service, slot) = text.rsplit_once('-')?;
    Some(ReplicaId { service: service.parse().ok()?, slot: slot.parse().ok()? })
}

/// The members to install one after another, so that at every moment one is there that nginx knows the address of: where
/// none is kept, old and new ones share the way.
pub(super) fn ways(present: &[ReplicaId], wanted: &[ReplicaId]) -> Vec<Vec<ReplicaId>> {
    let none_kept = !present.is_empty() && !wanted.is_empty() && !present.iter().any(|member| wanted.contains(member));
    let both = none_kept.then(|| sorted(&[present, wanted].concat()));
    both.into_iter().chain([sorted(wanted)]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(members: &[&str]) -> BalancerConfig {
        BalancerConfig {
            service: "api".parse().unwrap(),
            port: 8000,
            check: Some("/ready".to_owned()),
            listen: vec![8080, 8000],
            members: members.iter().map(|text| replica(text).unwrap()).collect(),
            drain: Duration::from_secs(30),
        }
    }

    fn golden(name: &str, text: &str) {
        insta::with_settings!({ snapshot_path => "../../../../tests/golden/balancer", prepend_module_to_snapshot => false, omit_expression => true }, {
            insta::assert_snapshot!(name, text);
        });
    }

    #[test]
    fn three_members() {
        golden("three_members", &render(&config(&["api-1", "api-2", "api-3"])).unwrap());
    }

    #[test]
    fn no_member() {
        let text = render(&config(&[])).unwrap();
        assert!(text.contains("return 503") && !text.contains("upstream members"));
        golden("no_member", &text);
    }

    #[test]
    fn the_members_are_read_back() {
        for ids in [&[][..], &["api-1"], &["api-1", "api-12", "my-api-2"]] {
            let config = config(ids);
            assert_eq!(members(&render(&config).unwrap()), config.members);
        }
        assert_eq!(members("events {}\n"), []);
        assert_eq!(members("# scalectl members: api-x api -1 api-3\n"), [replica("api-3").unwrap()]);
    }

    #[test]
    fn order_and_repetition_change_nothing() {
        let other = BalancerConfig { listen: vec![8000, 8080, 8080], ..config(&["api-2", "api-1", "api-2"]) };
        assert_eq!(render(&other).unwrap(), render(&config(&["api-1", "api-2"])).unwrap());
    }

    #[test]
    fn old_and_new_members_overlap() {
        let ids = |text: &str| text.split_whitespace().map(|id| replica(id).unwrap()).collect::<Vec<_>>();
        for (present, wanted, expected) in [
            ("", "api-1", vec!["api-1"]),
            ("api-1", "api-1 api-2", vec!["api-1 api-2"]),
            ("api-1 api-2", "api-2", vec!["api-2"]),
            ("api-1", "api-2", vec!["api-1 api-2", "api-2"]),
            ("api-1", "", vec![""]),
        ] {
            let expected: Vec<_> = expected.into_iter().map(ids).collect();
            assert_eq!(ways(&ids(present), &ids(wanted)), expected, "{present} → {wanted}");
        }
    }
}
