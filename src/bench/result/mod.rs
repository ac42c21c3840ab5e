//! What the counts come to: the [`summary`], whether the generator was the limit ([`verdict`]), the objectives ([`slo`]), and
//! whether two results differ ([`compare`]).

pub mod compare;
pub mod damage;
pub mod merge;
pub mod resemblance;
pub mod slo;
pub mod statistics;
pub mod summary;
pub mod verdict;
pub mod warmup;
