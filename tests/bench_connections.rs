//! How connections reach the target, come and go: against nginx with TLS, and against a server that misbehaves.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "support/server.rs"]
mod support;

use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use scalectl::bench::{
    self, Cause, Config, Error, Family, Length, Phase, Reach, RequestSpec, Summary, Target, TlsSettings, TlsVersion,
};
use scalectl::units::TimeSpan;
use support::{Fate, Server};

const REQUESTS: u64 = 60;

fn config(url: &str) -> Config {
    let mut config = Config::new(url.parse().unwrap());
    config.requests = vec![RequestSpec::get("/{{ seq() }}")];
    config.rate = "300".parse().unwrap();
    config.length = Length::Requests(REQUESTS);
    config.connections = Some(2);
    config.timeout = TimeSpan::seconds(10);
    config
}

fn run(config: &Config) -> Summary {
    let summary = bench::run(config, &mut ()).unwrap();
    assert!(summary.counts.holds(), "{:?}", summary.counts);
    summary
}

fn run_well(config: &Config) -> Summary {
    let summary = run(config);
    assert_eq!(summary.counts.ok, summary.counts.scheduled, "{:?} {:?}", summary.errors, summary.evidence);
    summary
}

fn answering() -> Server {
    Server::start(|_| Fate::Answer(200, 0))
}

fn port_of(server: &Server) -> u16 {
    server.url().parse::<Target>().unwrap().port
}

/// A name that no resolver knows leads to the server by either way; only a real look-up has a time.
#[test]
fn a_host_is_reached_where_it_is_said_to_be() {
    let server = answering();
    let port = port_of(&server);
    let mut unknown = config(&format!("http://nowhere.invalid:{port}/"));
    unknown.reach.resolve = vec![format!("nowhere.invalid:{port}:127.0.0.1").parse().unwrap()];
    assert_eq!(run_well(&unknown).setup.dns_ns, None);
    let mut other = config("http://nowhere.invalid/");
    other.reach.connect_to = vec![format!("nowhere.invalid:80:127.0.0.1:{port}").parse().unwrap()];
    run_well(&other);
    let mut named = config(&format!("http://localhost:{port}/"));
    named.reach.family = Some(Family::V4);
    assert!(run_well(&named).setup.dns_ns.unwrap() > 0);
    let mut wrong = config(&server.url());
    wrong.reach.family = Some(Family::V6);
    let Error::NoConnection { fault, .. } = bench::run(&wrong, &mut ()).unwrap_err() else { panic!() };
    assert_eq!((fault.kind.phase, fault.kind.cause), (Phase::Dns, Cause::UnknownHost));
    assert!(fault.detail.contains("no IPv6 address"), "{}", fault.detail);
}

/// An address of one link is written with its zone, whose percent sign a URL encodes (RFC 6874).
#[cfg(target_os = "linux")]
#[test]
fn an_address_may_have_a_zone() {
    let Ok(listener) = TcpListener::bind("[::1]:0") else { return };
    let port = listener.local_addr().unwrap().port();
    // Names of interfaces are for addresses that only a link knows.
    for zone in ["%251", "%1"] {
        let mut config = config(&format!("http://[::1{zone}]:{port}/"));
        config.connections = Some(1);
        config.length = Length::Requests(1);
        config.timeout = TimeSpan::seconds(5);
        let listener = listener.try_clone().unwrap();
        let heard = std::thread::spawn(move || {
            use std::io::{Read as _, Write as _};
            let (mut stream, _) = listener.accept().unwrap();
            let mut head = vec![0; 1024];
            let length = stream.read(&mut head).unwrap();
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").unwrap();
            String::from_utf8_lossy(&head[..length]).to_lowercase()
        });
        assert_eq!(run(&config).counts.ok, 1, "{zone}");
        // Nobody else knows of it.
        let head = heard.join().unwrap();
        assert!(head.contains(&format!("host: [::1]:{port}\r\n")), "{zone}: {head}");
    }
}

/// What is for another host than the target is said, and does nothing.
#[test]
fn rules_for_another_host_are_noted() {
    let server = answering();
    let mut config = config(&server.url());
    config.reach.resolve = vec!["other:80:127.0.0.1".parse().unwrap()];
    config.reach.connect_to = vec!["other:80:127.0.0.1:81".parse().unwrap()];
    let notes = run_well(&config).verdict.notes;
    for rule in ["--connect-to other:80:127.0.0.1:81 does nothing", "--resolve other:80:127.0.0.1 does nothing"] {
        assert!(notes.iter().any(|note| note.starts_with(rule)), "{rule}: {notes:?}");
    }
}

/// Connections come from each address in turn. All of 127.0.0.0/8 belongs to the loopback interface of Linux.
#[cfg(target_os = "linux")]
#[test]
fn connections_come_from_the_addresses_that_are_given() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let peers = std::thread::spawn(move || {
        let accepted: Vec<_> = (0..4).map(|_| listener.accept().unwrap()).collect();
        accepted.iter().map(|(_, peer)| peer.ip().to_string()).collect::<Vec<_>>()
    });
    let mut config = config(&format!("http://{address}/"));
    config.connections = Some(4);
    config.length = Length::Requests(1);
    config.grace = Some(TimeSpan::millis(1));
    config.reach.sources = vec!["127.0.0.2".parse().unwrap(), "127.0.0.3".parse().unwrap()];
    run(&config);
    let mut peers = peers.join().unwrap();
    peers.sort();
    assert_eq!(peers, ["127.0.0.2", "127.0.0.2", "127.0.0.3", "127.0.0.3"]);
    config.reach.sources = vec!["203.0.113.1".parse().unwrap()];
    let error = bench::run(&config, &mut ()).unwrap_err();
    assert!(matches!(error, Error::Config(_)) && error.to_string().contains("203.0.113.1"), "{error}");
}

#[test]
fn connections_end_after_as_many_requests_as_they_may_carry() {
    for (each, io) in [(1, "auto"), (7, "auto"), (7, "epoll"), (REQUESTS, "epoll")] {
        let server = answering();
        let mut config = config(&server.url());
        config.io = io.parse().unwrap();
        config.connections = Some(1);
        config.reach.requests_per_connection = Some(each.try_into().unwrap());
        let summary = run_well(&config);
        let connections = REQUESTS.div_ceil(each);
        assert_eq!((summary.connections.opened, server.connections()), (connections, connections), "{each} {io}");
        assert_eq!((server.count(), summary.counts.retries), (REQUESTS, 0));
        assert!(server.seen().iter().all(|seen| seen.earlier < each));
    }
}

#[test]
fn without_keep_alive_every_request_has_a_connection_of_its_own() {
    let server = answering();
    let mut config = config(&server.url());
    config.reach.without_keepalive = true;
    let summary = run_well(&config);
    assert_eq!((summary.connections.opened, server.connections()), (REQUESTS, REQUESTS));
    assert_eq!(summary.histograms.connect.count(), REQUESTS);
}

/// Every 1000th request is reset: those, and only those, fail. What may be sent again is, and ends well.
#[test]
fn resets_are_counted_exactly() {
    for method in ["POST", "GET"] {
        let server = Server::start(|seen| match (seen.seq % 1000, seen.repeats) {
            (999, 0) => Fate::Reset,
            _ => Fate::Answer(200, 0),
        });
        let mut config = config(&server.url());
        config.requests = vec![RequestSpec { method: method.to_owned(), ..RequestSpec::get("/{{ seq() }}") }];
        (config.rate, config.length) = ("1500".parse().unwrap(), Length::Requests(4000));
        let summary = run(&config);
        let c = summary.counts;
        match method {
            "POST" => {
                assert_eq!((c.network_error, c.ok, c.retries), (4, 3996, 0), "{c:?} {:?}", summary.errors);
                let [error] = summary.errors.as_slice() else { panic!("{:?}", summary.errors) };
                assert_eq!((error.kind.phase, error.kind.cause, error.count), (Phase::Head, Cause::Reset, 4));
                assert_eq!((c.wire, server.count()), ([4000, 4000], 4000));
            }
            _ => assert_eq!((c.network_error, c.ok, c.retries, server.count()), (0, 4000, 4, 4004), "{c:?}"),
        }
    }
}

/// A socket that listens, accepts nothing, and has no room left: further connections are neither made nor refused.
fn black_hole() -> (SocketAddr, Vec<socket2::Socket>) {
    black_hole_at(([127, 0, 0, 1], 0).into())
}

fn black_hole_at(address: SocketAddr) -> (SocketAddr, Vec<socket2::Socket>) {
    use socket2::{Domain, Socket, Type};
    let listener = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    listener.bind(&address.into()).unwrap();
    listener.listen(0).unwrap();
    let address = listener.local_addr().unwrap().as_socket().unwrap();
    let mut held = vec![listener];
    // Fills it but for one place, if any.
    loop {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        if socket.connect_timeout(&address.into(), Duration::from_millis(300)).is_err() {
            return (address, held);
        }
        held.push(socket);
    }
}

#[test]
fn a_black_hole_is_given_up_when_the_time_to_connect_is_over() {
    let (address, _held) = black_hole();
    let mut config = config(&format!("http://{address}/"));
    config.reach.connect_timeout = Some(TimeSpan::millis(200));
    let begun = Instant::now();
    let Error::NoConnection { fault, .. } = bench::run(&config, &mut ()).unwrap_err() else { panic!() };
    assert_eq!((fault.kind.phase, fault.kind.cause), (Phase::Connect, Cause::Timeout), "{fault:?}");
    assert!(begun.elapsed() < config.timeout.0, "it waited for the timeout of requests");
}

/// The first address of a name answers nothing, as that of a broken IPv6 does; the second is refused, the third answers.
/// All connections go there at once, and nobody waits for the time that one may take.
#[cfg(target_os = "linux")]
#[test]
fn of_several_addresses_one_that_answers_is_taken() {
    let server = answering();
    let port = port_of(&server);
    let (_, _held) = black_hole_at(([127, 0, 0, 2], port).into());
    for addresses in ["127.0.0.2,127.0.0.3,127.0.0.1", "127.0.0.1,127.0.0.2", "127.0.0.3,127.0.0.1"] {
        let mut config = config(&format!("http://nowhere.invalid:{port}/"));
        config.reach.resolve = vec![format!("nowhere.invalid:{port}:{addresses}").parse().unwrap()];
        config.connections = Some(4);
        let before = server.count();
        let summary = run_well(&config);
        let c = summary.counts;
        assert_eq!((server.count() - before, c.wire), (c.ok, [c.ok; 2]));
        let slowest = summary.histograms.connect.max().unwrap();
        assert!(slowest < config.timeout.0.as_nanos() as u64, "{slowest}");
    }
}

/// The server answers three times and then becomes a black hole. What is due then times out after as long as a
/// connection may take, ranks above all answers, and leaves its slot to the next.
#[cfg(target_os = "linux")]
#[test]
fn requests_into_a_black_hole_time_out_and_free_their_slot() {
    let (address, mut held) = black_hole();
    // Makes room for exactly the one connection that is open at the start.
    let (accepted, _) = held[0].accept().unwrap();
    let mut config = config(&format!("http://{address}/"));
    (config.connections, config.rate, config.length) = (Some(1), "10".parse().unwrap(), Length::Requests(8));
    (config.timeout, config.grace) = (TimeSpan::millis(400), Some(TimeSpan::seconds(20)));
    config.reach.connect_timeout = Some(TimeSpan::millis(150));
    let summary = run(&config);
    drop(accepted);
    held.clear();
    let c = summary.counts;
    assert_eq!((c.timeout, c.unsent, c.ok), (8, 0, 0), "{c:?} {:?}", summary.errors);
    let count = |phase| summary.errors.iter().filter(|e| e.kind.phase == phase).map(|e| e.count).sum::<u64>();
    // The first goes out on the open connection, and waits for its answer.
    assert_eq!((count(Phase::Head), count(Phase::Connect)), (1, 7), "{:?}", summary.errors);
    assert_eq!((summary.response_time_ns.p50, c.wire), (None, [1, 1]));
    // One after another on the only slot: T and seven times the time to connect, none of them less.
    assert!(summary.elapsed_ns >= (400 + 7 * 150) * 1_000_000, "{}", summary.elapsed_ns);
    let shortest = summary.failed_time_ns.min.unwrap();
    assert!(shortest >= 150_000_000, "{shortest}");
}

/// nginx in a folder of its own.
struct Nginx {
    process: Child,
    folder: tempfile::TempDir,
    port: u16,
    /// The port that asks for a client certificate.
    strict: u16,
    /// The port that shows the certificate of an authority for its own.
    signer: u16,
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // Asks for an orderly end, so that its worker ends too.
        let _ = nix::sys::signal::kill(
            nix::unistd::Pid::from_raw(self.process.id().cast_signed()),
            nix::sys::signal::Signal::SIGTERM,
        );
        let _ = self.process.wait();
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn issuer(name: &str) -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::new(vec!["shop.test".to_owned()]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(rcgen::DnType::CommonName, name);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

fn issue(folder: &Path, file: &str, host: &str, issuer: &CertifiedIssuer<'static, KeyPair>) {
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(vec![host.to_owned()]).unwrap().signed_by(&key, issuer).unwrap();
    fs::write(folder.join(format!("{file}.pem")), certificate.pem()).unwrap();
    fs::write(folder.join(format!("{file}.key")), key.serialize_pem()).unwrap();
}

impl Nginx {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let at = folder.path();
        let authority = issuer("Authority");
        fs::write(at.join("ca.pem"), authority.pem()).unwrap();
        issue(at, "server", "shop.test", &authority);
        issue(at, "client", "client.test", &authority);
        issue(at, "stranger", "client.test", &issuer("Stranger"));
        let (port, strict, signer) = (free_port(), free_port(), free_port());
        fs::write(at.join("ca.key"), authority.key().serialize_pem()).unwrap();
        let server = |port: u16, own: &str, more: &str| {
            format!(
                "server {{ listen 127.0.0.1:{port} ssl; ssl_certificate {own}.pem; ssl_certificate_key {own}.key; \
                 ssl_protocols TLSv1.2 TLSv1.3; {more} location / {{ return 200 \"$ssl_protocol $ssl_server_name\"; }} }}\n"
            )
        };
        let conf = format!(
            "pid nginx.pid; error_log error.log; worker_processes 1; events {{}}\nhttp {{ access_log access.log; \
             client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi; uwsgi_temp_path uwsgi; \
             scgi_temp_path scgi; \n{}{}{} }}\n",
            server(port, "server", ""),
            server(strict, "server", "ssl_client_certificate ca.pem; ssl_verify_client on;"),
            server(signer, "ca", ""),
        );
        fs::write(at.join("nginx.conf"), conf).unwrap();
        let process = Command::new("nginx")
            .args(["-e", "error.log", "-p"])
            .arg(at)
            .args(["-c", "nginx.conf", "-g", "daemon off; master_process off;"])
            .stderr(Stdio::null())
            .spawn()
            .expect("nginx (Debian: nginx-light)");
        let nginx = Self { process, folder, port, strict, signer };
        let begun = Instant::now();
        while TcpStream::connect(("127.0.0.1", strict)).is_err() {
            assert!(begun.elapsed() < Duration::from_secs(20), "{}", nginx.log("error.log"));
            std::thread::sleep(Duration::from_millis(20));
        }
        nginx
    }

    fn log(&self, name: &str) -> String {
        fs::read_to_string(self.folder.path().join(name)).unwrap_or_default()
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A run that trusts the authority of the server's certificate, at the given port.
    fn config(&self, port: u16) -> Config {
        let mut config = config(&format!("https://shop.test:{port}/"));
        config.requests = vec![RequestSpec::get("/")];
        let tls = TlsSettings { authorities: vec![self.file("ca.pem")], ..TlsSettings::default() };
        config.reach = Reach { resolve: vec!["*:443:127.0.0.1".parse().unwrap()], tls, ..Reach::default() };
        config.reach.resolve = vec![format!("*:{port}:127.0.0.1").parse().unwrap()];
        config
    }
}

/// What a run that cannot be says.
fn refusal(config: &Config) -> String {
    let error = bench::run(config, &mut ()).unwrap_err();
    assert!(matches!(error, Error::Config(_)), "{error:?}");
    error.to_string()
}

#[test]
fn nginx_is_trusted_by_its_authority_and_its_name() {
    let nginx = Nginx::start();
    let summary = run_well(&nginx.config(nginx.port));
    assert_eq!(summary.histograms.tls.count(), 2);
    // Without its authority, or by another name, it is not.
    let mut stranger = nginx.config(nginx.port);
    stranger.reach.tls.authorities = vec![];
    let mut renamed = nginx.config(nginx.port);
    renamed.reach.tls.name = Some("other.test".to_owned());
    for config in [&stranger, &renamed] {
        match bench::run(config, &mut ()).unwrap_err() {
            Error::NoConnection { fault, .. } => assert_eq!(fault.kind.phase, Phase::Tls, "{fault:?}"),
            other => panic!("{other}"),
        }
    }
    // What OpenSSL makes unless told otherwise, and no client of its kind takes.
    match bench::run(&nginx.config(nginx.signer), &mut ()).unwrap_err() {
        Error::NoConnection { fault, .. } => assert!(fault.detail.contains("of an authority (CA:TRUE)"), "{fault:?}"),
        other => panic!("{other}"),
    }
    // By the address it is, once the name that the certificate bears is given.
    let mut by_address = nginx.config(nginx.port);
    by_address.target = format!("https://127.0.0.1:{}/", nginx.port).parse().unwrap();
    by_address.reach.tls.name = Some("shop.test".to_owned());
    run_well(&by_address);
}

#[test]
fn nginx_speaks_the_version_of_tls_that_is_left() {
    let nginx = Nginx::start();
    for (oldest, newest, answer) in
        [(None, Some(TlsVersion::V1_2), "TLSv1.2 shop.test"), (Some(TlsVersion::V1_3), None, "TLSv1.3 shop.test")]
    {
        let mut config = nginx.config(nginx.port);
        config.connections = Some(1);
        config.length = Length::Requests(1);
        (config.reach.tls.oldest, config.reach.tls.newest) = (oldest, newest);
        let summary = run_well(&config);
        assert_eq!(summary.counts.ok, 1, "{answer}");
    }
}

#[test]
fn nginx_lets_in_who_shows_a_certificate_it_knows() {
    let nginx = Nginx::start();
    let mut config = nginx.config(nginx.strict);
    let pair = |name: &str| Some((nginx.file(&format!("{name}.pem")), nginx.file(&format!("{name}.key"))));
    config.reach.tls.client = pair("client");
    run_well(&config);
    for client in [None, pair("stranger")] {
        config.reach.tls.client = client;
        let summary = run(&config);
        assert_eq!((summary.counts.http_error, summary.status.get(&400)), (REQUESTS, Some(&REQUESTS)));
    }
    // What cannot be used is refused before anything is sent.
    for (certificate, key, said) in [
        ("missing.pem", "client.key", "No such file"),
        ("nginx.conf", "client.key", "holds none"),
        ("client.pem", "client.pem", "holds none"),
        ("client.pem", "stranger.key", "cannot be used with the key"),
    ] {
        config.reach.tls.client = Some((nginx.file(certificate), nginx.file(key)));
        let refusal = refusal(&config);
        assert!(refusal.contains(said), "{certificate} {key}: {refusal}");
    }
    config.reach.tls.client = None;
    config.reach.tls.authorities = vec![nginx.file("client.key")];
    assert!(refusal(&config).contains("certificate authority"));
}
