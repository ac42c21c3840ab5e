//! Choosing, draining, membership changes under load, the end.

use std::sync::atomic::AtomicBool;

use super::*;
use crate::engine::local::balancer::State;

fn in_flight(balancer: &Balancer, id: &str) -> usize {
    balancer.members().iter().find(|m| m.id == id).map_or(0, |m| m.in_flight)
}

#[tokio::test]
async fn a_busy_member_is_passed_over() {
    let (balancer, a, b) = (balancer().await, Service::start("a").await, Service::start("b").await);
    balancer.add("a", a.address);
    let held = {
        let mut client = Client::connect(&balancer).await;
        tokio::spawn(async move { client.ask("GET", "/held", "").await })
    };
    eventually("the request is held", || in_flight(&balancer, "a") == 1).await;
    balancer.add("b", b.address);
    let mut client = Client::connect(&balancer).await;
    for _ in 0..6 {
        assert_eq!(client.ask("GET", "/", "").await.1, "b");
    }
    a.gate.add_permits(1);
    assert_eq!(held.await.unwrap(), (200, "a".to_owned()));
    eventually("nothing is in flight", || in_flight(&balancer, "a") == 0).await;
}

#[tokio::test]
async fn requests_share_a_kept_alive_connection() {
    let (balancer, a) = (balancer().await, Service::start("a").await);
    balancer.add("a", a.address);
    let mut client = Client::connect(&balancer).await;
    for _ in 0..50 {
        client.ask("POST", "/", "x").await;
    }
    assert_eq!(a.served(), 50);
    assert!(a.connections() <= 3, "{} connections for 50 requests in a row", a.connections());
}

#[tokio::test]
async fn unused_connections_are_closed_after_the_idle_time() {
    let a = Service::start("a").await;
    let balancer = balancer_with(|c| c.idle = Duration::from_millis(50)).await;
    balancer.add("a", a.address);
    Client::connect(&balancer).await.ask("GET", "/", "").await;
    eventually("the upstream connection closes", || a.connections() == 0).await;
}

#[tokio::test]
async fn drained_waits_for_what_is_in_flight_and_closes_the_rest() {
    let (balancer, a, b) = (balancer().await, Service::start("a").await, Service::start("b").await);
    balancer.add("a", a.address);
    let mut client = Client::connect(&balancer).await;
    client.ask("GET", "/", "").await;
    let held = {
        let mut client = Client::connect(&balancer).await;
        tokio::spawn(async move { client.ask("POST", "/held", "x").await })
    };
    eventually("the request is held", || in_flight(&balancer, "a") == 1).await;
    balancer.add("b", b.address);
    balancer.drain("a");
    assert_eq!(balancer.members()[0].state, State::Draining);
    assert_eq!(balancer.drained("a", Duration::from_millis(20)).await, 1, "one is still in flight");
    assert_eq!(client.ask("GET", "/", "").await.1, "b", "no new request, on a client connection that lives on");
    let waiting = {
        let balancer = balancer.clone();
        tokio::spawn(async move { balancer.drained("a", PATIENCE).await })
    };
    a.gate.add_permits(1);
    assert_eq!(held.await.unwrap(), (200, "a".to_owned()));
    assert_eq!(waiting.await.unwrap(), 0);
    eventually("its connections close", || a.connections() == 0).await;
    balancer.remove("a");
    assert_eq!(balancer.members().len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn membership_changes_under_load_fail_no_request_and_cut_no_client() {
    let balancer = balancer().await;
    let mut current = Vec::new();
    for i in 0..3 {
        let service = Service::start(&format!("api-{i}")).await;
        balancer.add(&service.name, service.address);
        current.push(service);
    }
    let stop = Arc::new(AtomicBool::new(false));
    let mut load = Vec::new();
    for n in 0..16 {
        let (mut client, stop) = (Client::connect(&balancer).await, stop.clone());
        load.push(tokio::spawn(async move {
            let mut done = 0;
            while !stop.load(Ordering::Relaxed) {
                let method = if n % 2 == 0 { "POST" } else { "GET" };
                let (status, body) = client.ask(method, "/", if n % 2 == 0 { "{}" } else { "" }).await;
                assert_eq!(status, 200, "{body}");
                done += 1;
            }
            (client, done)
        }));
    }
    for change in 3..33 {
        let new = Service::start(&format!("api-{change}")).await;
        balancer.add(&new.name, new.address);
        let served_by_new = new.served.clone();
        eventually("the new member serves", || served_by_new.load(Ordering::SeqCst) > 0).await;
        current.push(new);
        let old = current.remove(0);
        balancer.drain(&old.name);
        assert_eq!(balancer.drained(&old.name, PATIENCE).await, 0);
        old.kill().await;
        balancer.remove(&old.name);
    }
    stop.store(true, Ordering::Relaxed);
    let mut done = 0;
    let mut clients = Vec::new();
    for task in load {
        let (client, requests) = task.await.unwrap();
        done += requests;
        clients.push(client);
    }
    let counters = balancer.counters();
    assert_eq!(counters.requests, done);
    assert_eq!((counters.bad_gateway, counters.no_member, counters.ejections), (0, 0, 0));
    assert_eq!(counters.client_connections, 16, "every client kept the connection it began with");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_member_is_ejected_and_comes_back_elsewhere() {
    let (balancer, a, b) = (balancer().await, Service::start("a").await, Service::start("b").await);
    balancer.add("a", a.address);
    balancer.add("b", b.address);
    let mut client = Client::connect(&balancer).await;
    a.kill().await;
    for _ in 0..10 {
        assert_eq!(client.ask("POST", "/", "x").await, (200, "b".to_owned()));
    }
    assert_eq!(balancer.members()[0].state, State::Ejected);
    assert_eq!(balancer.counters().ejections, 1);
    let again = Service::start("a").await;
    balancer.add("a", again.address);
    assert_eq!(balancer.members()[0].state, State::Ready);
    let mut names = Vec::new();
    for _ in 0..4 {
        names.push(client.ask("GET", "/", "").await.1);
    }
    assert!(names.contains(&"a".to_owned()));
}

#[tokio::test]
async fn the_probe_takes_out_and_brings_back() {
    let (balancer, a, b) = (balancer().await, Service::start("a").await, Service::start("b").await);
    balancer.add("a", a.address);
    balancer.add("b", b.address);
    balancer.set_ready("a", false);
    let mut client = Client::connect(&balancer).await;
    for _ in 0..3 {
        assert_eq!(client.ask("GET", "/", "").await, (200, "b".to_owned()));
    }
    balancer.set_ready("a", true);
    balancer.set_ready("b", false);
    assert_eq!(client.ask("GET", "/", "").await, (200, "a".to_owned()));
}

#[tokio::test]
async fn without_members_it_says_so_and_when_to_come_back() {
    let balancer = balancer().await;
    let response = Client::connect(&balancer).await.send("POST", "/", "x").await.unwrap();
    assert_eq!(response.status(), 503);
    assert_eq!(response.headers()["retry-after"], "1");
    assert_eq!(response.headers()["content-type"], "application/problem+json");
    let body = response.into_body().collect().await.unwrap().to_bytes();
    let problem: serde_json::Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(problem["status"], 503);
    assert_eq!(problem["detail"], "no replica of the service is ready");
    assert_eq!(balancer.counters().no_member, 1);
}

#[tokio::test]
async fn closing_finishes_what_is_in_flight_and_refuses_the_rest() {
    let (balancer, a) = (balancer().await, Service::start("a").await);
    balancer.add("a", a.address);
    let mut idle = Client::connect(&balancer).await;
    idle.ask("GET", "/", "").await;
    let held = {
        let mut client = Client::connect(&balancer).await;
        tokio::spawn(async move { client.ask("GET", "/held", "").await })
    };
    eventually("the request is held", || in_flight(&balancer, "a") == 1).await;
    let closing = {
        let balancer = balancer.clone();
        tokio::spawn(async move { balancer.close(PATIENCE).await })
    };
    let client = &mut idle;
    eventually("the idle client's connection closes", || client.0.is_closed()).await;
    a.gate.add_permits(1);
    assert_eq!(held.await.unwrap(), (200, "a".to_owned()));
    assert_eq!(closing.await.unwrap(), 0);
    assert!(TcpStream::connect(balancer.addresses()[0]).await.is_err());
    eventually("upstream connections close", || a.connections() == 0).await;
}

#[tokio::test]
async fn closing_cuts_what_does_not_end_in_time() {
    let (balancer, a) = (balancer().await, Service::start("a").await);
    balancer.add("a", a.address);
    let held = {
        let mut client = Client::connect(&balancer).await;
        tokio::spawn(async move { client.send("GET", "/held", "").await.is_err() })
    };
    eventually("the request is held", || in_flight(&balancer, "a") == 1).await;
    assert_eq!(balancer.close(Duration::from_millis(20)).await, 1);
    assert!(held.await.unwrap());
}

#[tokio::test]
async fn a_port_in_use_is_named() {
    let taken = TcpListener::bind(loopback()).await.unwrap();
    let address = taken.local_addr().unwrap();
    let error = Balancer::bind(Config::new(vec![address])).await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::AddrInUse);
    assert!(error.to_string().starts_with(&format!("cannot listen on {address}: ")), "{error}");
    assert!(Balancer::bind(Config::new(Vec::new())).await.is_err());
}

#[tokio::test]
async fn a_client_that_goes_away_cancels_its_request() {
    let (balancer, a) = (balancer().await, Service::start("a").await);
    balancer.add("a", a.address);
    let held = {
        let mut client = Client::connect(&balancer).await;
        tokio::spawn(async move { client.ask("GET", "/held", "").await })
    };
    eventually("the request is held", || in_flight(&balancer, "a") == 1).await;
    held.abort();
    eventually("it is no longer in flight", || in_flight(&balancer, "a") == 0).await;
    eventually("its upstream connection is closed, not used again", || a.connections() == 0).await;
}
