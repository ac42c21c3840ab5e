//! A password that a backing service's data does not know: `.env` was lost, or changed, beside an older volume.
//!
//! The servers take their password into their data when they make it, and look at it never again. So such a service
//! starts, becomes healthy, and refuses everybody.

use std::time::Duration;

use super::spec::Input;
use super::{Docker, labels, readiness};
use crate::engine::ReplicaId;
use crate::error::Failure;
use crate::units::Name;

/// How long a login may take: RabbitMQ's tools start an Erlang of their own.
const LOGIN: Duration = Duration::from_secs(30);

impl Docker {
    /// The failure of a backing service that runs, and whose data does not know the password of `.env`. Asked are only
    /// those whose volume was made with other secrets: afterwards the password may have been changed in both places.
    pub(super) async fn refused_login(&self, backing: &Name) -> Option<Failure> {
        let login = self.specs().logins.get(backing)?;
        let (_, fingerprint) = self.specs().backing.get(backing)?;
        let volume = self.names().volume(backing);
        let made_with = self.api().inspect_volume(&volume).await.ok()?.labels.remove(labels::SECRETS);
        if made_with.as_ref() == Some(&fingerprint.secrets) {
            return None;
        }
        let container = self.names().replica(&ReplicaId { service: backing.clone(), slot: 1 });
        let asked = readiness::run_inside(self.api(), &container, &login.command);
        let (code, output) = tokio::time::timeout(LOGIN, asked).await.ok()?.ok()?;
        let said = output.lines().find(|line| line.contains(&login.refused)).filter(|_| code != 0)?;
        Some(refused(backing, &volume, said.trim()))
    }

    /// A backing service that refuses its users goes before what they say of it.
    pub(super) async fn or_refused_login(&self, failure: Failure) -> Failure {
        for backing in self.specs().logins.keys() {
            if let Some(refused) = self.refused_login(backing).await {
                return refused;
            }
        }
        failure
    }

    /// Adds to the failure for a variable that is not set that there is data which was made when it was.
    pub(super) async fn with_older_data(&self, failure: Failure, input: &Input<'_>) -> Failure {
        let own = input.backing.iter().filter(|(_, resolved)| resolved.external.is_none());
        for (name, _) in own.filter(|(_, resolved)| !resolved.missing_variables(input.stack).is_empty()) {
            let volume = self.names().volume(name);
            let known = self.api().inspect_volume(&volume).await;
            if known.is_ok_and(|volume| labels::are_of(&volume.labels, self.identity())) {
                return failure
                    .because(format!("volume {volume} with its data was made with one"))
                    .hint("if .env was lost, put the old one back: a new password does not open old data");
            }
        }
        failure
    }
}

fn refused(backing: &Name, volume: &str, said: &str) -> Failure {
    Failure::failed(format!("{backing}: the password in .env is not the one that its volume was made with"))
        .because(format!("volume {volume} is older; {backing} says: {said}"))
        .hint("put the old .env back, then run the same command again")
        .hint(format!("or change the password inside, with the service's own tools: `scalectl exec {backing} -- sh`"))
        .hint("or, if the data may go: `scalectl down --volumes`, then `scalectl up`")
}
