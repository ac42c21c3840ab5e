//! One byte stream to the target that never blocks: TCP or a unix socket, plain or through TLS.

use std::io::{self, Read, Write};
#[cfg(target_os = "linux")]
use std::net::Shutdown;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use mio::event::Source;
use mio::net::{TcpStream, UnixStream};
use mio::{Interest, Registry, Token};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection};

#[cfg(target_os = "linux")]
use super::receipt;

/// A socket.
pub enum Socket {
    /// TCP.
    Tcp(TcpStream),
    /// TCP of which the kernel notes when bytes come.
    #[cfg(target_os = "linux")]
    Noted(Noted),
    /// A unix socket.
    Unix(UnixStream),
}

/// A TCP socket, and what the kernel has noted of the last read.
#[cfg(target_os = "linux")]
pub struct Noted {
    stream: TcpStream,
    /// When the last byte of it came (CLOCK_REALTIME).
    came: Option<u64>,
}

impl Socket {
    /// Asks the kernel to note when bytes come, if it can: see [`Self::came`].
    #[must_use]
    pub fn noted(self) -> Self {
        match self {
            #[cfg(target_os = "linux")]
            Self::Tcp(stream) if receipt::ask(&stream).is_ok() => Self::Noted(Noted { stream, came: None }),
            other => other,
        }
    }

    /// When the last byte of the last read came, in nanoseconds of CLOCK_REALTIME, if the kernel has noted it.
    pub fn came(&self) -> Option<u64> {
        match self {
            #[cfg(target_os = "linux")]
            Self::Noted(noted) => noted.came,
            Self::Tcp(_) | Self::Unix(_) => None,
        }
    }

    /// Whether the connection that was begun is made.
    ///
    /// # Errors
    ///
    /// It was refused, or something else prevents it.
    pub fn is_connected(&mut self) -> io::Result<bool> {
        let peer = match self {
            Self::Tcp(stream) => match stream.take_error()? {
                Some(error) => return Err(error),
                None => stream.peer_addr().map(drop),
            },
            #[cfg(target_os = "linux")]
            Self::Noted(Noted { stream, .. }) => match stream.take_error()? {
                Some(error) => return Err(error),
                None => stream.peer_addr().map(drop),
            },
            Self::Unix(stream) => match stream.take_error()? {
                Some(error) => return Err(error),
                None => stream.peer_addr().map(drop),
            },
        };
        match peer {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotConnected => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Sends every write at once.
    ///
    /// # Errors
    ///
    /// The system refuses the option.
    pub fn set_nodelay(&self) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.set_nodelay(true),
            #[cfg(target_os = "linux")]
            Self::Noted(Noted { stream, .. }) => stream.set_nodelay(true),
            Self::Unix(_) => Ok(()),
        }
    }

    /// Ends both directions at once, though the system may hold the socket longer.
    ///
    /// # Errors
    ///
    /// It is not connected.
    #[cfg(target_os = "linux")]
    pub fn shutdown(&self) -> io::Result<()> {
        match self {
            Self::Tcp(stream) | Self::Noted(Noted { stream, .. }) => stream.shutdown(Shutdown::Both),
            Self::Unix(stream) => stream.shutdown(Shutdown::Both),
        }
    }

    /// Asks for every change of what can be read or written, until the socket is closed.
    ///
    /// # Errors
    ///
    /// The event queue refuses it.
    pub fn watch(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        let both = Interest::READABLE | Interest::WRITABLE;
        match self {
            Self::Tcp(stream) => stream.register(registry, token, both),
            #[cfg(target_os = "linux")]
            Self::Noted(Noted { stream, .. }) => stream.register(registry, token, both),
            Self::Unix(stream) => stream.register(registry, token, both),
        }
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(stream) => stream.as_fd(),
            #[cfg(target_os = "linux")]
            Self::Noted(Noted { stream, .. }) => stream.as_fd(),
            Self::Unix(stream) => stream.as_fd(),
        }
    }
}

impl Read for Socket {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.read(buffer),
            #[cfg(target_os = "linux")]
            Self::Noted(noted) => {
                let (read, came) = receipt::read(&noted.stream, buffer)?;
                // The end of the stream has no note.
                if read > 0 {
                    noted.came = came;
                }
                Ok(read)
            }
            Self::Unix(stream) => stream.read(buffer),
        }
    }
}

impl Write for Socket {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.write(bytes),
            #[cfg(target_os = "linux")]
            Self::Noted(Noted { stream, .. }) => stream.write(bytes),
            Self::Unix(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A byte stream over a connected socket.
pub enum Channel {
    /// The socket itself.
    Plain(Socket),
    /// TLS over it.
    Tls(Box<Tls>),
}

impl Channel {
    /// Reads what is there.
    ///
    /// # Errors
    ///
    /// As a socket; [`io::ErrorKind::WouldBlock`] if nothing is there yet.
    pub fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(socket) => socket.read(buffer),
            Self::Tls(tls) => tls.read(buffer),
        }
    }

    /// When the last byte that its socket gave came, in nanoseconds of CLOCK_REALTIME, if the kernel has noted it.
    pub fn came(&self) -> Option<u64> {
        match self {
            Self::Plain(socket) => socket.came(),
            Self::Tls(tls) => tls.carrier.came(),
        }
    }

    /// Writes what fits.
    ///
    /// # Errors
    ///
    /// As a socket; [`io::ErrorKind::WouldBlock`] if nothing fits.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(socket) => socket.write(bytes),
            Self::Tls(tls) => tls.write(bytes),
        }
    }

    /// Moves on what a write left behind; says whether all of it has gone out.
    ///
    /// # Errors
    ///
    /// As a socket.
    pub fn flush(&mut self) -> io::Result<bool> {
        match self {
            Self::Plain(_) => Ok(true),
            Self::Tls(tls) => tls.flush(),
        }
    }

    /// Whether a read that did not fill its buffer took all there was. Records of TLS come one by one.
    pub fn reads_all(&self) -> bool {
        matches!(self, Self::Plain(_))
    }
}

/// A TLS session and the byte stream that carries it.
pub struct Tls<S = Socket> {
    carrier: S,
    session: ClientConnection,
}

impl<S: Read + Write> Tls<S> {
    /// A session over `carrier`, its handshake not begun.
    ///
    /// # Errors
    ///
    /// The settings do not fit together.
    pub fn new(carrier: S, config: Arc<ClientConfig>, name: ServerName<'static>) -> Result<Self, rustls::Error> {
        Ok(Self { carrier, session: ClientConnection::new(config, name)? })
    }

    /// The byte stream that carries it.
    #[cfg(target_os = "linux")]
    pub fn carrier_mut(&mut self) -> &mut S {
        &mut self.carrier
    }

    /// The protocol that the two sides have agreed on, once the handshake is done.
    pub fn protocol(&self) -> Option<&[u8]> {
        self.session.alpn_protocol()
    }

    /// Takes the handshake as far as it goes; says whether it is done.
    ///
    /// # Errors
    ///
    /// The socket failed or was closed, or the handshake was refused: then a [`rustls::Error`] is inside.
    pub fn shake_hands(&mut self) -> io::Result<bool> {
        loop {
            let is_out = self.flush()?;
            if !self.session.is_handshaking() {
                return Ok(is_out);
            }
            match self.session.read_tls(&mut self.carrier) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(_) => self.process()?,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn process(&mut self) -> io::Result<()> {
        let processed = self.session.process_new_packets();
        if processed.is_err() {
            // The alert that says why; the failure itself matters more than one of this.
            let _ = self.flush();
        }
        processed.map(drop).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
    }

    /// Reads what has come, as a socket.
    ///
    /// # Errors
    ///
    /// As a socket, or what came is no TLS.
    pub fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut flushed = Ok(());
        loop {
            match self.session.reader().read(buffer) {
                // A peer that closes without saying so in TLS has closed all the same.
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(0),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                read => return read,
            }
            match self.session.read_tls(&mut self.carrier) {
                Ok(0) => return flushed.map(|()| 0),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Err(flushed.err().unwrap_or(error)),
                Err(error) => return Err(error),
            }
            self.process()?;
            // That nothing more can be written does not undo what has come.
            flushed = self.flush().map(drop);
        }
    }

    /// Writes what fits, as a socket.
    ///
    /// # Errors
    ///
    /// As a socket.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if !self.flush()? {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let written = self.session.writer().write(bytes)?;
        match self.send_out() {
            (0, Err(error)) => Err(error),
            // What fails after a part has gone fails again with what comes next.
            _ => Ok(written),
        }
    }

    fn flush(&mut self) -> io::Result<bool> {
        self.send_out().1
    }

    /// Writes what is encrypted: how many bytes went out, and whether that is all.
    fn send_out(&mut self) -> (usize, io::Result<bool>) {
        let mut gone = 0;
        while self.session.wants_write() {
            match self.session.write_tls(&mut self.carrier) {
                Ok(written) => gone += written,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return (gone, Ok(false)),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return (gone, Err(error)),
            }
        }
        (gone, Ok(true))
    }
}
