//! Lets a test suite in another language kill and restart an instance by a command.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use super::{Instance, Server};

/// Answers `GET /kill` and `GET /start` on a loopback port for as long as this program runs.
pub struct Control {
    port: u16,
}

impl Control {
    pub fn new<S: Server + Send + 'static>(instance: Arc<Mutex<Instance<S>>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        thread::spawn(move || listener.incoming().flatten().for_each(|stream| serve(stream, &instance)));
        Self { port }
    }

    /// A shell command that returns once the instance is killed.
    pub fn kill_command(&self) -> String {
        self.command("kill")
    }

    /// A shell command that returns once the instance answers again.
    pub fn start_command(&self) -> String {
        self.command("start")
    }

    fn command(&self, action: &str) -> String {
        format!(
            "python3 -c 'import urllib.request as r; r.urlopen(\"http://127.0.0.1:{}/{action}\").read()'",
            self.port
        )
    }
}

fn serve<S: Server>(mut stream: TcpStream, instance: &Mutex<Instance<S>>) {
    let mut lines = BufReader::new(&stream).lines().map_while(Result::ok).take_while(|line| !line.is_empty());
    let Some(request) = lines.next() else { return };
    lines.for_each(drop);
    match request.split(' ').nth(1) {
        Some("/kill") => instance.lock().unwrap().kill9(),
        Some("/start") => instance.lock().unwrap().restart(),
        other => panic!("nothing is done for {other:?}"),
    }
    let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
}
