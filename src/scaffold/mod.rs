//! Project templates: catalog, answers, rendering.
