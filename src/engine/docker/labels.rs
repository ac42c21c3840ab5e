//! Names and labels: what tells the project's containers, networks and volumes apart from all others, and from each
//! other. They are the only memory of this engine: what runs is read off them.

use std::collections::HashMap;
use std::path::PathBuf;

use crate::engine::{BalancerId, Fingerprint, Identity, ReplicaId};
use crate::units::Name;

/// The project's name: on everything of ours.
pub const PROJECT: &str = "scalectl.project";
/// The project's root folder: the same name from another folder is another project.
pub const ROOT: &str = "scalectl.root";
/// What it is; the texts of [`Role`].
pub const ROLE: &str = "scalectl.role";
/// The service of a replica, the balancer's service, the backing service of a volume.
pub const SERVICE: &str = "scalectl.service";
/// The slot of a replica.
pub const SLOT: &str = "scalectl.slot";
/// What a replica or balancer was made from, as JSON.
pub const FINGERPRINT: &str = "scalectl.fingerprint";
/// What a balancer's configuration says besides its members, as JSON.
pub const BALANCER: &str = "scalectl.balancer";
/// Port and path of a replica's readiness check, as JSON: whoever looks need not know the stack.
pub const CHECK: &str = "scalectl.check";
/// The name of a job.
pub const JOB: &str = "scalectl.job";
/// The digest of what a job ran.
pub const DIGEST: &str = "scalectl.digest";
/// A random text that tells a volume from one of the same name after it.
pub const VOLUME_ID: &str = "scalectl.volume.id";
/// The volumes that a job worked on, by their ids.
pub const VOLUME_IDS: &str = "scalectl.volume.ids";
/// The keyed digest of the secrets that a volume's data was made with.
pub const SECRETS: &str = "scalectl.secrets";
/// The image that a volume's data was first written by.
pub const IMAGE: &str = "scalectl.image";

/// What one of our containers or volumes is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// A replica of a service of the project's own code.
    Replica,
    /// A backing service.
    Backing,
    /// A balancer.
    Balancer,
    /// A job that runs, or ended: then it is the record of it.
    Job,
    /// A container that never starts: files are put into a volume through it.
    Helper,
    /// A command beside the stack: `scalectl run`.
    Run,
    /// A volume with a backing service's data.
    Data,
    /// A volume with configuration and secrets.
    Files,
}

impl Role {
    const ALL: [Self; 8] =
        [Self::Replica, Self::Backing, Self::Balancer, Self::Job, Self::Helper, Self::Run, Self::Data, Self::Files];

    /// The label's text.
    pub fn text(self) -> &'static str {
        match self {
            Self::Replica => "replica",
            Self::Backing => "backing",
            Self::Balancer => "balancer",
            Self::Job => "job",
            Self::Helper => "helper",
            Self::Run => "run",
            Self::Data => "data",
            Self::Files => "files",
        }
    }

    /// The role that labels tell.
    pub fn of(labels: &HashMap<String, String>) -> Option<Self> {
        let text = labels.get(ROLE)?;
        Self::ALL.into_iter().find(|role| role.text() == text)
    }
}

/// Labels that everything of a project has.
pub fn of_project(identity: &Identity) -> HashMap<String, String> {
    HashMap::from([
        (PROJECT.to_owned(), identity.project.to_string()),
        (ROOT.to_owned(), identity.root.to_string_lossy().into_owned()),
    ])
}

/// Whether labels are those of this very project: its name, and its folder.
pub fn are_of(labels: &HashMap<String, String>, identity: &Identity) -> bool {
    of_project(identity).iter().all(|(label, text)| labels.get(label) == Some(text))
}

/// Labels of something with a role.
pub fn of_role(identity: &Identity, role: Role) -> HashMap<String, String> {
    let mut labels = of_project(identity);
    labels.insert(ROLE.to_owned(), role.text().to_owned());
    labels
}

/// Labels of a replica, a backing service's among them.
pub fn of_replica(
    identity: &Identity,
    role: Role,
    id: &ReplicaId,
    fingerprint: &Fingerprint,
) -> HashMap<String, String> {
    let mut labels = of_role(identity, role);
    labels.insert(SERVICE.to_owned(), id.service.to_string());
    labels.insert(SLOT.to_owned(), id.slot.to_string());
    labels.insert(FINGERPRINT.to_owned(), encode(fingerprint));
    labels
}

/// Labels of a balancer.
pub fn of_balancer(
    identity: &Identity,
    id: &BalancerId,
    service: &Name,
    fingerprint: &Fingerprint,
) -> HashMap<String, String> {
    let mut labels = of_role(identity, Role::Balancer);
    labels.insert(SERVICE.to_owned(), service.to_string());
    labels.insert(FINGERPRINT.to_owned(), encode(fingerprint));
    if id == &BalancerId::Front {
        labels.insert(SLOT.to_owned(), "front".to_owned());
    }
    labels
}

/// The replica that labels tell.
pub fn replica(labels: &HashMap<String, String>) -> Option<ReplicaId> {
    Some(ReplicaId { service: labels.get(SERVICE)?.parse().ok()?, slot: labels.get(SLOT)?.parse().ok()? })
}

/// The balancer that labels tell, and its service.
pub fn balancer(labels: &HashMap<String, String>) -> Option<(BalancerId, Name)> {
    let service: Name = labels.get(SERVICE)?.parse().ok()?;
    let front = labels.get(SLOT).is_some_and(|slot| slot == "front");
    Some((if front { BalancerId::Front } else { BalancerId::Service(service.clone()) }, service))
}

/// The fingerprint that labels tell; one that cannot be read differs from all others.
pub fn fingerprint(labels: &HashMap<String, String>) -> Fingerprint {
    labels.get(FINGERPRINT).and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default()
}

/// The root folder that labels tell.
pub fn root(labels: &HashMap<String, String>) -> Option<PathBuf> {
    labels.get(ROOT).map(PathBuf::from)
}

fn encode(fingerprint: &Fingerprint) -> String {
    serde_json::to_string(fingerprint).unwrap_or_default()
}

/// The names that a project's things have on the engine.
#[derive(Debug, Clone)]
pub struct Names<'a>(pub &'a Name);

impl Names<'_> {
    /// The network. Not the bare name of the project: `host`, `none`, `default` and, with Podman, `pod` mean something else
    /// to an engine.
    pub fn network(&self) -> String {
        format!("{}-network", self.0)
    }

    /// A replica's container.
    pub fn replica(&self, id: &ReplicaId) -> String {
        format!("{}-{id}", self.0)
    }

    /// A container's own idea of its name: short enough for the kernel's 64 characters, whatever the project is called.
    pub fn host<'n>(&self, container: &'n str) -> &'n str {
        container.strip_prefix(self.0.as_str()).and_then(|rest| rest.strip_prefix('-')).unwrap_or(container)
    }

    /// A balancer's container.
    pub fn balancer(&self, id: &BalancerId) -> String {
        match id {
            BalancerId::Front => format!("{}-balancer", self.0),
            BalancerId::Service(service) => format!("{}-{service}-balancer", self.0),
        }
    }

    /// The volume with a balancer's configuration.
    pub fn balancer_volume(&self, id: &BalancerId) -> String {
        format!("{}-config", self.balancer(id))
    }

    /// A job's container.
    pub fn job(&self, job: &Name) -> String {
        format!("{}-job-{job}", self.0)
    }

    /// A backing service's volume.
    pub fn volume(&self, backing: &Name) -> String {
        format!("{}-{backing}", self.0)
    }

    /// The volume with a service's files: another one for other content.
    pub fn files(&self, service: &Name, digest: &str) -> String {
        format!("{}-{service}-files-{digest}", self.0)
    }

    /// The image that is built from a source.
    pub fn image(&self, source: &str) -> String {
        format!("scalectl/{}:{source}", self.0)
    }
}

/// The name that stands for all replicas of a service on the network.
pub fn replicas_host(service: &Name) -> String {
    format!("replicas.{service}")
}

/// The name of one replica on the network: of labels, each within DNS's 63 characters, which the container's name may
/// exceed.
pub fn replica_host(id: &ReplicaId) -> String {
    format!("{}.{}", id.slot, replicas_host(&id.service))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_labels_say_is_read_back() {
        let identity = Identity { project: "shop".parse().unwrap(), root: "/shop".into() };
        let id = ReplicaId { service: "api".parse().unwrap(), slot: 2 };
        let print = Fingerprint { source: "abc".into(), ..Fingerprint::default() };
        let labels = of_replica(&identity, Role::Replica, &id, &print);
        assert_eq!(replica(&labels), Some(id));
        assert_eq!(fingerprint(&labels), print);
        assert_eq!(root(&labels), Some("/shop".into()));
        assert_eq!(Role::of(&labels), Some(Role::Replica));
        let service: Name = "api".parse().unwrap();
        for id in [BalancerId::Front, BalancerId::Service(service.clone())] {
            let labels = of_balancer(&identity, &id, &service, &print);
            assert_eq!(balancer(&labels), Some((id, service.clone())));
        }
        for role in Role::ALL {
            assert_eq!(Role::of(&of_role(&identity, role)), Some(role));
        }
    }
}
