//! Heads, bodies and connections as HTTP wants them.

use super::*;

async fn with_service() -> (Balancer, Service) {
    let (balancer, service) = (balancer().await, Service::start("a").await);
    balancer.add("a", service.address);
    (balancer, service)
}

#[tokio::test]
async fn headers_of_this_hop_end_here_and_the_forwarding_ones_are_added() {
    let (balancer, _service) = with_service().await;
    let answer = raw(
        &balancer,
        "GET /headers?q=1 HTTP/1.1\r\nHost: shop.test:8080\r\nConnection: close, X-Hop\r\nX-Hop: 1\r\nKeep-Alive: 5\r\n\
         TE: trailers\r\nProxy-Connection: x\r\nX-Forwarded-For: 10.1.2.3\r\nX-Forwarded-Proto: https\r\n\
         X-Request-Id: abc-123\r\nAuthorization: Bearer t\r\n\r\n",
    )
    .await
    .to_lowercase();
    for present in [
        "\nget /headers?q=1",
        "\nhost: shop.test:8080",
        "\nx-forwarded-for: 10.1.2.3, 127.0.0.1",
        "\nx-forwarded-proto: http\n",
        "\nx-forwarded-host: shop.test:8080",
        "\nauthorization: bearer t",
        "\r\nx-request-id: abc-123\r\n",
        "\r\nx-public: kept\r\n",
    ] {
        assert!(answer.contains(present), "{present:?} is not in {answer}");
    }
    for absent in ["x-hop", "trailers", "proxy-connection", "timeout=9", "x-internal", "secret"] {
        assert!(!answer.contains(absent), "{absent:?} is in {answer}");
    }
}

#[tokio::test]
async fn a_request_id_is_made_where_there_is_none_that_is_sane() {
    let (balancer, _service) = with_service().await;
    let mut seen = std::collections::HashSet::new();
    for id in ["", "X-Request-Id: two words\r\n", &format!("X-Request-Id: {}\r\n", "a".repeat(129))] {
        let answer =
            raw(&balancer, &format!("GET /headers HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{id}\r\n")).await;
        let ids = answer.lines().filter_map(|l| l.strip_prefix("x-request-id: ")).collect::<Vec<_>>();
        assert_eq!(ids.len(), 2, "once in the answer's head, once as the service saw it: {answer}");
        assert_eq!(ids[0], ids[1]);
        assert!(ids[0].len() == 32 && ids[0].bytes().all(|b| b.is_ascii_hexdigit()), "{ids:?}");
        seen.insert(ids[0].to_owned());
    }
    assert_eq!(seen.len(), 3);
}

#[tokio::test]
async fn large_bodies_stream_both_ways() {
    let (balancer, _service) = with_service().await;
    let stream = TcpStream::connect(balancer.addresses()[0]).await.unwrap();
    let (mut read, mut write) = stream.into_split();
    const CHUNK: usize = 64 << 10;
    const CHUNKS: usize = 512;
    let head =
        format!("POST /echo HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: {}\r\n\r\n", CHUNK * CHUNKS);
    write.write_all(head.as_bytes()).await.unwrap();
    // The first part comes back before the last one is sent: nothing waits for the whole.
    write.write_all(&[b'x'; CHUNK]).await.unwrap();
    let mut first = vec![0; CHUNK];
    read.read_exact(&mut first).await.unwrap();
    assert!(first.starts_with(b"HTTP/1.1 200"));
    let writer = tokio::spawn(async move {
        for _ in 1..CHUNKS {
            write.write_all(&[b'x'; CHUNK]).await.unwrap();
        }
        write
    });
    let mut rest = Vec::new();
    read.read_to_end(&mut rest).await.unwrap();
    writer.await.unwrap();
    let body = [first, rest].concat();
    assert_eq!(body.iter().filter(|b| **b == b'x').count(), CHUNK * CHUNKS + head_xs(&body));
}

/// How often `x` occurs in the head of an answer.
fn head_xs(answer: &[u8]) -> usize {
    let end = answer.windows(4).position(|w| w == b"\r\n\r\n").unwrap();
    answer[..end].iter().filter(|b| **b == b'x').count()
}

#[tokio::test]
async fn chunked_uploads_arrive_whole() {
    let (balancer, _service) = with_service().await;
    let answer = raw(
        &balancer,
        "POST /echo HTTP/1.1\r\nHost: a\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nabcd\r\n2\r\nef\r\n0\r\n\r\n",
    )
    .await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(answer.contains("abcd") && answer.contains("ef"), "{answer}");
}

#[tokio::test]
async fn http_1_0_clients_are_served() {
    let (balancer, _service) = with_service().await;
    let answer = raw(&balancer, "GET / HTTP/1.0\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.0 200 OK"), "{answer}");
    assert!(answer.ends_with("\r\n\r\na"), "{answer}");
    let chunked = raw(&balancer, "POST /echo HTTP/1.0\r\nContent-Length: 3\r\n\r\nabc").await;
    assert!(!chunked.to_lowercase().contains("transfer-encoding"), "{chunked}");
    assert!(chunked.ends_with("abc"), "{chunked}");
}

#[tokio::test]
async fn head_keeps_the_length_and_sends_no_body() {
    let (balancer, _service) = with_service().await;
    let mut client = Client::connect(&balancer).await;
    let response = client.send("HEAD", "/", "").await.unwrap();
    assert_eq!(response.headers()["content-length"], "1");
    assert!(response.into_body().collect().await.unwrap().to_bytes().is_empty());
    assert_eq!(client.ask("GET", "/", "").await, (200, "a".to_owned()));
}

#[tokio::test]
async fn a_client_that_waits_for_100_is_told_to_go_on() {
    let (balancer, _service) = with_service().await;
    let mut stream = TcpStream::connect(balancer.addresses()[0]).await.unwrap();
    let head =
        "POST /echo HTTP/1.1\r\nHost: a\r\nConnection: close\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut go_on = [0; 25];
    tokio::time::timeout(PATIENCE, stream.read_exact(&mut go_on)).await.unwrap().unwrap();
    assert_eq!(&go_on, b"HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(b"body").await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("body"), "{answer}");
}

#[tokio::test]
async fn websockets_pass_through_and_count_as_in_flight() {
    let (balancer, _service) = with_service().await;
    let mut stream = TcpStream::connect(balancer.addresses()[0]).await.unwrap();
    let head = "GET /socket HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        answer.push(stream.read_u8().await.unwrap());
    }
    let answer = String::from_utf8(answer).unwrap().to_lowercase();
    assert!(answer.starts_with("http/1.1 101 switching protocols\r\n"), "{answer}");
    assert!(
        answer.contains("\r\nupgrade: websocket\r\n") && answer.contains("\r\nconnection: upgrade\r\n"),
        "{answer}"
    );
    for word in [b"ping", b"pong"] {
        stream.write_all(word).await.unwrap();
        let mut echo = [0; 4];
        stream.read_exact(&mut echo).await.unwrap();
        assert_eq!(&echo, word);
    }
    balancer.drain("a");
    assert_eq!(balancer.drained("a", Duration::from_millis(10)).await, 1);
    drop(stream);
    assert_eq!(balancer.drained("a", PATIENCE).await, 0);
}

#[tokio::test]
async fn an_upgrade_that_is_declined_is_a_plain_answer() {
    let (balancer, _service) = with_service().await;
    let head = "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, close\r\nUpgrade: websocket\r\n\r\n";
    let answer = raw(&balancer, head).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK") && answer.ends_with("\r\na"), "{answer}");
}

#[tokio::test]
async fn malformed_requests_are_refused_and_reach_no_member() {
    let (balancer, service) = with_service().await;
    for (request, status) in [
        ("NONSENSE\r\n\r\n", "400"),
        ("GET / HTTP/1.1\r\nConnection: close\r\n\r\n", "400"),
        ("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\nConnection: close\r\n\r\n", "400"),
        ("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nx", "400"),
        ("GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n", "400"),
        ("GET / HTTP/1.1\r\nHost : a\r\n\r\n", "400"),
        ("CONNECT elsewhere:443 HTTP/1.1\r\nHost: elsewhere:443\r\nConnection: close\r\n\r\n", "501"),
    ] {
        let answer = raw(&balancer, request).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{request:?}: {answer:?}");
    }
    let long = format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "a".repeat(70_000));
    assert!(raw(&balancer, &long).await.starts_with("HTTP/1.1 414"));
    assert_eq!(service.served(), 0);
}

#[tokio::test]
async fn two_lengths_cannot_smuggle_a_request() {
    let (balancer, service) = with_service().await;
    let answer = raw(
        &balancer,
        "POST /echo HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 40\r\nTransfer-Encoding: chunked\r\n\r\n\
         3\r\nabc\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n",
    )
    .await;
    assert!(answer.contains("abc") && !answer.contains("smuggled"), "{answer}");
    assert_eq!(service.served(), 1);
}

#[tokio::test]
async fn a_connection_header_cannot_remove_what_frames_the_message() {
    let (balancer, _service) = with_service().await;
    let answer = raw(
        &balancer,
        "POST /echo HTTP/1.1\r\nHost: a\r\nConnection: close, content-length, host\r\nContent-Length: 3\r\n\r\nabc",
    )
    .await;
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("abc"), "{answer}");
}

#[tokio::test]
async fn a_target_in_absolute_form_becomes_a_path_and_its_host() {
    let (balancer, _service) = with_service().await;
    let head = "GET http://shop.test:81/headers?x=1 HTTP/1.1\r\nHost: other\r\nConnection: close\r\n\r\n";
    let answer = raw(&balancer, head).await;
    assert!(answer.contains("\nGET /headers?x=1\n") || answer.contains("\r\n\r\nGET /headers?x=1\n"), "{answer}");
    assert!(answer.contains("\nhost: shop.test:81"), "{answer}");
}
