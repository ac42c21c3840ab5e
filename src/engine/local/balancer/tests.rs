//! The balancer on real sockets.
