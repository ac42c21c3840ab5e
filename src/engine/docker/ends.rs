//! How often, and how, a container's program ended while it was waited for.
//!
//! The restart policy hides it: with a restart the engine forgets the exit code, and that the program met its memory
//! limit. Its events tell both.

use std::collections::HashMap;
use std::pin::Pin;

use bollard::Docker;
use bollard::errors::Error;
use bollard::models::EventMessage;
use bollard::query_parameters::EventsOptionsBuilder;
use futures_util::{Stream, StreamExt};

/// The ends of a container's program since it was first looked at.
pub struct Ends<'d> {
    events: Pin<Box<dyn Stream<Item = Result<EventMessage, Error>> + 'd>>,
    /// How often it ended.
    pub count: u32,
    /// The exit code of the last time.
    pub code: Option<i64>,
    /// Whether the kernel killed a process of it for its memory limit.
    pub out_of_memory: bool,
}

impl<'d> Ends<'d> {
    /// Listens to the events of the container with this full id.
    pub fn watch(docker: &'d Docker, id: &str) -> Self {
        let filters =
            HashMap::from([("type", vec!["container"]), ("container", vec![id]), ("event", vec!["die", "oom"])]);
        let events = docker.events(Some(EventsOptionsBuilder::new().filters(&filters).build()));
        Self { events: Box::pin(events), count: 0, code: None, out_of_memory: false }
    }

    /// Waits for the next event; for ever, where the engine tells no more.
    pub async fn next(&mut self) {
        match self.events.next().await {
            Some(Ok(event)) => self.take(&event),
            _ => std::future::pending().await,
        }
    }

    fn take(&mut self, event: &EventMessage) {
        match event.action.as_deref() {
            Some("oom") => self.out_of_memory = true,
            Some("die") => {
                self.count += 1;
                let attributes = event.actor.as_ref().and_then(|actor| actor.attributes.as_ref());
                self.code = attributes.and_then(|of| of.get("exitCode")?.parse().ok());
            }
            _ => {}
        }
    }
}
