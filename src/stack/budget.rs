//! The connection budget: whether a database accepts all connections that its users' pools may open.
//!
//! ```text
//! (replicas + 1 of surge) × pool + workers × pool + migration ≤ the database's maximum − its reserve
//! ```
//!
//! The surge is the replica that a rolling change starts before it stops an old one. Only replicas behind the balancer
//! roll so; a worker is stopped first. A migration runs beside the old replicas, on one connection.

use std::fmt;

use super::model::{Service, Stack};
use super::path::KeyPath;
use super::problem::Problem;
use crate::backing::Resolved;
use crate::units::Name;

/// The variable that tells a service how many connections each of its replicas may hold.
pub const POOL_SIZE: &str = "DB_POOL_SIZE";

/// Connections of one replica where `DB_POOL_SIZE` is not in the service's `env`: what the templates open.
pub const DEFAULT_POOL_SIZE: u32 = 10;

/// The connections of one service to one database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Share {
    /// The service.
    pub service: Name,
    /// Its replicas.
    pub replicas: u32,
    /// Replicas more during a rolling change.
    pub surge: u32,
    /// Connections of one replica.
    pub pool: u32,
}

impl Share {
    fn processes(&self) -> u64 {
        u64::from(self.replicas) + u64::from(self.surge)
    }

    /// Most connections of the service at once.
    pub fn connections(&self) -> u64 {
        self.processes() * u64::from(self.pool)
    }
}

/// What one database offers and what its users may ask of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Budget {
    /// The database's name in the stack.
    pub backing: Name,
    /// Most connections that it accepts.
    pub max: u32,
    /// Connections that stay out of the services' reach.
    pub reserve: u32,
    /// Its users.
    pub shares: Vec<Share>,
    /// Connections of a migration.
    pub migration: u32,
}

/// Which replicas are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scale {
    /// As many as the file says.
    Replicas,
    /// As many as `autoscale` may start.
    AutoscaleMax,
}

impl Budget {
    /// The budget of a database of the stack; `None` for a backing service that limits no connections, that nobody
    /// uses, or whose limit is unknown because it runs elsewhere.
    ///
    /// # Errors
    ///
    /// A `DB_POOL_SIZE` that is no number.
    pub fn of(stack: &Stack, database: &Resolved<'_>, scale: Scale) -> Result<Option<Self>, Box<Problem>> {
        let Some(section) = stack.backing.get(database.name) else { return Ok(None) };
        let known = database.entry.max_connections.filter(|_| database.external.is_none());
        let Some(max) = section.max_connections.or(known) else { return Ok(None) };
        let users = stack.services.iter().filter(|(_, service)| service.uses.contains(database.name));
        let shares = users.map(|(name, service)| share(stack, name, service, scale)).collect::<Result<Vec<_>, _>>()?;
        if shares.is_empty() {
            return Ok(None);
        }
        let migrates = stack.jobs.values().any(|job| {
            let service = stack.services.get(&job.service);
            !job.before.is_empty() && service.is_some_and(|service| service.uses.contains(database.name))
        });
        Ok(Some(Self {
            backing: database.name.clone(),
            max,
            reserve: section.reserve.unwrap_or(database.entry.reserve),
            shares,
            migration: u32::from(migrates),
        }))
    }

    /// Connections that the services and the migration may open at once.
    pub fn needed(&self) -> u64 {
        self.shares.iter().map(Share::connections).sum::<u64>() + u64::from(self.migration)
    }

    /// Connections that they may have.
    pub fn available(&self) -> u64 {
        u64::from(self.max.saturating_sub(self.reserve))
    }

    /// Whether every pool can be full at once.
    pub fn holds(&self) -> bool {
        self.needed() <= self.available()
    }

    /// The largest pool that fits if every service has the same; `None` where not even one connection each does.
    pub fn largest_pool(&self) -> Option<u64> {
        let processes = self.shares.iter().map(Share::processes).sum::<u64>();
        let pool = self.available().saturating_sub(u64::from(self.migration)).checked_div(processes)?;
        (pool > 0).then_some(pool)
    }

    /// What to do where it does not hold.
    pub fn remedy(&self) -> String {
        let raise = format!(
            "set backing.{}.max_connections to what the server is configured for, at least {}",
            self.backing,
            self.needed() + u64::from(self.reserve)
        );
        match self.largest_pool() {
            Some(pool) => {
                format!("set {POOL_SIZE} to {pool} in the env of each of them, lower their replicas, or {raise}")
            }
            None => format!("lower the replicas, put a connection pooler before the database, or {raise}"),
        }
    }
}

impl fmt::Display for Budget {
    /// `needs 51 of 97 connections: api (3 + 1) × 10 + worker 1 × 10 + migration 1`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "needs {} of {} connections ({} − {} reserved): ",
            self.needed(),
            self.available(),
            self.max,
            self.reserve
        )?;
        for (position, Share { service, replicas, surge, pool }) in self.shares.iter().enumerate() {
            let plus = if position == 0 { "" } else { " + " };
            match surge {
                0 => write!(f, "{plus}{service} {replicas} × {pool}")?,
                surge => write!(f, "{plus}{service} ({replicas} + {surge}) × {pool}")?,
            }
        }
        if self.migration > 0 { write!(f, " + migration {}", self.migration) } else { Ok(()) }
    }
}

fn share(stack: &Stack, name: &Name, service: &Service, scale: Scale) -> Result<Share, Box<Problem>> {
    let replicas = match (scale, &service.autoscale) {
        (Scale::AutoscaleMax, Some(autoscale)) => autoscale.max.max(service.replicas),
        _ => service.replicas,
    };
    let is_balanced = stack.balancer.as_ref().is_some_and(|balancer| balancer.service == *name);
    let pool = match service.env.get(POOL_SIZE) {
        None => DEFAULT_POOL_SIZE,
        Some(value) => value.text.trim().parse().ok().filter(|pool| *pool > 0).ok_or_else(|| {
            let path = KeyPath::keys(["services", name.as_str(), "env", POOL_SIZE]);
            stack.problem(&path, format!("expected a number of connections above 0, found {value:?}"))
        })?,
    };
    Ok(Share { service: name.clone(), replicas: replicas.0.into(), surge: u32::from(is_balanced), pool })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::backing;
    use crate::stack::{Variables, parse};

    fn budget_at(text: &str, scale: Scale) -> Result<Option<Budget>, Box<Problem>> {
        let head = "[project]\nname = \"shop\"\n";
        let stack = parse(&format!("{head}{text}"), Path::new("/project"), Variables::default()).unwrap();
        Budget::of(&stack, &backing::resolve(&stack)["postgres"], scale)
    }

    fn budget(text: &str) -> Budget {
        budget_at(text, Scale::Replicas).unwrap().unwrap()
    }

    const SERVICES: &str = r#"
        [services.api]
        image = "shop"
        port = 8000
        replicas = 3
        uses = ["postgres"]
        autoscale = { min = 3, max = 20, cpu = 70 }
        [services.worker]
        image = "shop"
        uses = ["postgres"]
        env = { DB_POOL_SIZE = "5" }
        [services.mail]
        image = "mail"
        [balancer]
        service = "api"
        port = 80
        [jobs.migrate]
        service = "api"
        command = ["migrate"]
        before = ["api"]
    "#;

    #[test]
    fn replicas_surge_workers_and_the_migration_are_counted() {
        let budget = budget(&format!("{SERVICES}[backing.postgres]"));
        assert_eq!(budget.needed(), (3 + 1) * 10 + 5 + 1);
        assert_eq!(budget.available(), 97);
        assert!(budget.holds());
        assert_eq!(
            budget.to_string(),
            "needs 46 of 97 connections (100 − 3 reserved): api (3 + 1) × 10 + worker 1 × 5 + migration 1"
        );
    }

    #[test]
    fn the_limit_itself_still_holds() {
        let with = |max: u32| budget(&format!("{SERVICES}[backing.postgres]\nmax_connections = {max}\nreserve = 4"));
        assert!(with(50).holds());
        assert!(!with(49).holds());
        assert_eq!(with(49).largest_pool(), Some((49 - 4 - 1) / 5));
        assert_eq!(with(9).largest_pool(), None);
        assert!(!with(3).holds(), "a reserve above the maximum leaves nothing");
        assert!(with(49).remedy().contains("at least 50"));
    }

    #[test]
    fn autoscaling_is_counted_at_its_maximum() {
        let text = format!("{SERVICES}[backing.postgres]");
        let budget = budget_at(&text, Scale::AutoscaleMax).unwrap().unwrap();
        assert_eq!(budget.needed(), (20 + 1) * 10 + 5 + 1);
        assert!(!budget.holds());
    }

    #[test]
    fn a_pool_size_that_is_no_number_is_refused() {
        let text = format!("{}[backing.postgres]", SERVICES.replace("\"5\"", "\"many\""));
        let problem = budget_at(&text, Scale::Replicas).unwrap_err();
        assert!(
            problem.to_string().ends_with(
                "services.worker.env.DB_POOL_SIZE: expected a number of connections above 0, found \"many\""
            )
        );
    }

    #[test]
    fn a_database_that_nobody_uses_has_no_budget() {
        assert_eq!(budget_at("[backing.postgres]", Scale::Replicas).unwrap(), None);
    }
}
