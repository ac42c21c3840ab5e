//! Why a mix cannot be sent.

use crate::bench::request::feed::FeedError;
use crate::bench::request::kind::KindError;
use crate::bench::request::template::TemplateError;

/// Why a mix cannot be sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MixError {
    /// A text in it is wrong.
    #[error("request \"{request}\": {source}")]
    Template {
        /// Name of the request.
        request: String,
        /// What is wrong.
        source: TemplateError,
    },
    /// Something else in a request is wrong.
    #[error("request \"{request}\": {why}")]
    Request {
        /// Name of the request.
        request: String,
        /// What is wrong.
        why: String,
    },
    /// A flow is wrong.
    #[error("flow \"{flow}\": {why}")]
    Flow {
        /// Its name.
        flow: String,
        /// What is wrong.
        why: String,
    },
    /// A feed cannot be used.
    #[error(transparent)]
    Feed(#[from] FeedError),
    /// All weights are 0.
    #[error("the weights of all requests are 0")]
    Weightless,
}

impl MixError {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Template { source, .. } => Some(source.hint()),
            Self::Request { .. } | Self::Flow { .. } | Self::Feed(_) | Self::Weightless => None,
        }
    }

    /// A request of this name could not be compiled.
    pub(super) fn of_request(request: String, error: KindError) -> Self {
        match error {
            KindError::Template(source) => Self::Template { request, source },
            KindError::Why(why) => Self::Request { request, why },
        }
    }
}
