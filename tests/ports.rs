//! Who holds a port, and whether asking for it disturbs anybody: alone in a process, because a child that another test
//! starts has a copy of every listening socket until it has become another program.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, TcpListener};
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};

use scalectl::ports::{Holder, Obstacle, holder, is_free, obstacle};

/// A free port that the system gives to nobody, and this function to nobody else: below the range of outgoing connections.
fn quiet_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(10_000);
    loop {
        let port = NEXT.fetch_add(1, Ordering::Relaxed);
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
}

#[test]
fn a_port_is_held_by_this_process_or_by_nobody() {
    for address in [IpAddr::from(Ipv4Addr::LOCALHOST), Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::LOCALHOST.into()] {
        let port = quiet_port();
        let listener = match TcpListener::bind((address, port)) {
            // Not every machine has IPv6.
            Err(error) if address.is_ipv6() && error.kind() != io::ErrorKind::AddrInUse => continue,
            listener => listener.unwrap(),
        };
        let found = obstacle(port);
        match &found {
            Some(Obstacle::Held(Holder::Process { pid, name, command })) => {
                assert_eq!(*pid, std::process::id());
                assert!(!name.is_empty() && !command.is_empty());
            }
            other => panic!("{address}: {other:?}"),
        }
        assert!(!is_free(port), "{address}");
        drop(listener);
        assert_eq!((obstacle(port), holder(port)), (None, None), "{address}");
    }
}

/// What becomes of `attempt` while another thread asks for `port` again and again.
fn beside_a_probe(port: u16, attempt: impl Fn() -> bool) -> usize {
    let (asked, ended) = (AtomicBool::new(false), AtomicBool::new(false));
    std::thread::scope(|threads| {
        threads.spawn(|| {
            while !ended.load(Ordering::Relaxed) {
                is_free(port);
                asked.store(true, Ordering::Relaxed);
            }
        });
        while !asked.load(Ordering::Relaxed) {
            std::thread::yield_now();
        }
        let failed = (0..20_000).filter(|_| !attempt()).count();
        ended.store(true, Ordering::Relaxed);
        failed
    })
}

#[test]
#[cfg(target_os = "linux")]
fn who_asks_for_a_port_is_in_nobody_s_way() {
    let port = quiet_port();
    assert_eq!(beside_a_probe(port, || is_free(port)), 0, "others that ask");
    let listens = || TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok();
    assert_eq!(beside_a_probe(port, listens), 0, "others that listen");
}
