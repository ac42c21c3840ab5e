//! The thinnest path through this part; it is widened next.
#![allow(missing_docs)]
