//! What is sent again, and what must not be.

use super::*;
use crate::engine::local::balancer::State;

/// A service that reads each request's head, counts it, answers the first `answered` of a connection, then hangs up.
async fn rude(answered: usize) -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind(loopback()).await.unwrap();
    let (address, heads) = (listener.local_addr().unwrap(), Arc::new(AtomicUsize::new(0)));
    let counted = heads.clone();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let heads = counted.clone();
            tokio::spawn(async move {
                let mut buffer = [0; 4096];
                for _ in 0..answered {
                    let Ok(1..) = stream.read(&mut buffer).await else { return };
                    heads.fetch_add(1, Ordering::SeqCst);
                    stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nrude").await.unwrap();
                }
                if let Ok(1..) = stream.read(&mut buffer).await {
                    heads.fetch_add(1, Ordering::SeqCst);
                }
            });
        }
    });
    (address, heads)
}

/// An address that refuses connections.
async fn refusing() -> SocketAddr {
    TcpListener::bind(loopback()).await.unwrap().local_addr().unwrap()
}

#[tokio::test]
async fn a_refused_post_goes_to_another_member_with_its_body() {
    let (balancer, b) = (balancer().await, Service::start("b").await);
    balancer.add("gone-1", refusing().await);
    balancer.add("gone-2", refusing().await);
    balancer.add("b", b.address);
    let mut client = Client::connect(&balancer).await;
    for _ in 0..6 {
        assert_eq!(client.ask("POST", "/echo", "the body").await, (200, "the body".to_owned()));
    }
    assert_eq!(b.served(), 6);
    let states = balancer.members().iter().map(|m| m.state).collect::<Vec<_>>();
    assert_eq!(states, [State::Ejected, State::Ejected, State::Ready]);
    assert_eq!(balancer.counters().retries, 2);
    assert_eq!(balancer.counters().ejections, 2);
}

#[tokio::test]
async fn a_get_without_an_answer_is_sent_to_another_member() {
    let (balancer, b) = (balancer().await, Service::start("b").await);
    let (address, heads) = rude(0).await;
    balancer.add("rude", address);
    let mut client = Client::connect(&balancer).await;
    assert_eq!(client.ask("GET", "/", "").await.0, 502, "alone it gets a second chance, not a third");
    assert_eq!(heads.load(Ordering::SeqCst), 2);
    balancer.add("b", b.address);
    for _ in 0..6 {
        assert_eq!(client.ask("GET", "/", "").await, (200, "b".to_owned()));
    }
    assert_eq!(balancer.members()[0].state, State::Ready, "it accepts connections: the probe decides");
    assert!(balancer.members()[0].failures >= 2);
}

#[tokio::test]
async fn a_post_that_was_written_is_never_sent_twice() {
    let (balancer, b) = (balancer().await, Service::start("b").await);
    let (address, heads) = rude(0).await;
    balancer.add("rude", address);
    let mut client = Client::connect(&balancer).await;
    let (status, body) = client.ask("POST", "/", "x").await;
    assert_eq!(status, 502);
    assert!(body.contains("the service closed the connection before it answered"), "{body}");
    assert_eq!(heads.load(Ordering::SeqCst), 1);
    assert_eq!(b.served(), 0);
    assert_eq!(balancer.counters().bad_gateway, 1);
}

#[tokio::test]
async fn a_get_with_a_body_is_not_sent_twice() {
    let balancer = balancer().await;
    let (address, heads) = rude(0).await;
    balancer.add("rude", address);
    assert_eq!(Client::connect(&balancer).await.ask("GET", "/", "a query").await.0, 502);
    assert_eq!(heads.load(Ordering::SeqCst), 1);
}

/// Between its answer and the next request the service closes; the balancer has not been told otherwise than by the
/// closed socket.
#[tokio::test]
async fn a_post_is_not_lost_on_a_connection_that_was_closed_while_idle() {
    let listener = TcpListener::bind(loopback()).await.unwrap();
    let balancer = balancer().await;
    balancer.add("a", listener.local_addr().unwrap());
    let service = std::thread::spawn(move || {
        let listener = listener.into_std().unwrap();
        listener.set_nonblocking(false).unwrap();
        for _ in 0..100 {
            use std::io::{Read, Write};
            let (mut stream, _) = listener.accept().unwrap();
            let mut buffer = [0; 4096];
            let n = stream.read(&mut buffer).unwrap();
            assert!(buffer[..n].starts_with(b"POST / HTTP/1.1"));
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\ngone").unwrap();
        }
    });
    let mut client = Client::connect(&balancer).await;
    for _ in 0..100 {
        let answer = client.ask("POST", "/", "").await;
        // On one thread, this lets the close reach the kernel but not the balancer's task.
        std::thread::sleep(Duration::from_millis(1));
        assert_eq!(answer, (200, "gone".to_owned()));
    }
    service.join().unwrap();
}

#[tokio::test]
async fn a_member_that_hangs_up_on_every_connection_ends_in_an_answer() {
    let listener = TcpListener::bind(loopback()).await.unwrap();
    let balancer = balancer().await;
    balancer.add("a", listener.local_addr().unwrap());
    tokio::spawn(async move {
        loop {
            drop(listener.accept().await);
        }
    });
    let mut client = Client::connect(&balancer).await;
    for _ in 0..20 {
        let (status, _) = client.ask("POST", "/", "x").await;
        assert!(status == 502 || status == 503, "{status}");
    }
}

#[tokio::test]
async fn a_member_that_does_not_accept_is_passed_over_but_not_when_it_is_the_last() {
    // A full backlog: the kernel drops the SYN of whoever comes next.
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind(loopback()).unwrap();
    let listener = socket.listen(1).unwrap();
    let full = listener.local_addr().unwrap();
    let mut fillers = Vec::new();
    while let Ok(stream) = tokio::time::timeout(Duration::from_millis(100), TcpStream::connect(full)).await {
        fillers.push(stream.unwrap());
    }
    let b = Service::start("b").await;
    let balancer = balancer_with(|c| c.connect_timeout = Duration::from_millis(50)).await;
    balancer.add("full", full);
    let mut client = Client::connect(&balancer).await;
    assert_eq!(client.ask("POST", "/", "x").await.0, 503);
    assert_eq!(balancer.members()[0].state, State::Ready, "slowness of the last member is no outage");
    balancer.add("b", b.address);
    for _ in 0..4 {
        assert_eq!(client.ask("POST", "/", "x").await, (200, "b".to_owned()));
    }
    assert_eq!(balancer.members()[0].state, State::Ejected);
}

#[tokio::test]
async fn an_answer_that_breaks_off_breaks_off_for_the_client_too() {
    let listener = TcpListener::bind(loopback()).await.unwrap();
    let balancer = balancer().await;
    balancer.add("a", listener.local_addr().unwrap());
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut buffer = [0; 4096];
        _ = stream.read(&mut buffer).await.unwrap();
        stream.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n").await.unwrap();
    });
    let response = Client::connect(&balancer).await.send("GET", "/", "").await.unwrap();
    assert_eq!(response.status(), 200);
    assert!(response.into_body().collect().await.is_err(), "a cut answer must not look complete");
    eventually("nothing is in flight", || balancer.members()[0].in_flight == 0).await;
}
